/** The user's or the system's wish to end a command: signals, a closed output, the escape key. */
import type { Interruption } from './supervise.js';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const IMPATIENT_STATUS = 130;

/** Turns signals into a promise, so that a command ends its VMs before it leaves. */
export class InterruptionSource {
  /** Settles at the first wish; never rejects. */
  readonly interrupted: Promise<Interruption>;
  private settle!: (by: Interruption) => void;
  private signals = 0;

  private readonly onSignal = (signal: NodeJS.Signals): void => {
    this.signals++;
    // Whoever asks twice does not want to wait for a tidy end.
    if (this.signals > 1) process.exit(IMPATIENT_STATUS);
    this.settle(signal as Interruption);
  };

  private readonly onOutputError = (error: NodeJS.ErrnoException): void => {
    if (error.code !== 'EPIPE') throw error;
    this.settle('SIGPIPE');
  };

  constructor() {
    this.interrupted = new Promise((resolve) => {
      this.settle = resolve;
    });
    for (const signal of SIGNALS) process.on(signal, this.onSignal);
    process.stdout.on('error', this.onOutputError);
  }

  /** The escape key. */
  quit(): void {
    this.settle('quit');
  }

  /** Gives the signals back their usual effect. */
  release(): void {
    for (const signal of SIGNALS) process.off(signal, this.onSignal);
    process.stdout.off('error', this.onOutputError);
  }
}
