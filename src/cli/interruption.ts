/**
 * The user's or the system's wish to end a command: signals, a closed output, the escape key. A session
 * takes the first wish and ends its VMs; a process of a sandbox gets signals instead; without either, and at the second
 * signal, the process leaves at once, through 'exit', where whoever has children or a raw terminal puts things right.
 */
import { INTERRUPTION_STATUS, type Interruption } from './statuses.js';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

interface SignalTaker {
  /** Whether it has taken a signal; else the process leaves. */
  take(signal: Interruption): boolean;
}

/** The session that takes signals, or what takes its place. */
let current: SignalTaker | undefined;
let listening = 0;

function onSignal(signal: NodeJS.Signals): void {
  if (current?.take(signal as Interruption) !== true) {
    process.exit(INTERRUPTION_STATUS[signal as Interruption]);
  }
}

/** Takes the signals from their usual effect; returns what gives it back. */
export function listenToSignals(): () => void {
  listening++;
  if (listening === 1) for (const signal of SIGNALS) process.on(signal, onSignal);
  return () => {
    listening--;
    if (listening === 0) for (const signal of SIGNALS) process.off(signal, onSignal);
  };
}

/** Gives signals to somebody who is no session; returns what gives them back to the process. */
export function takeSignals(take: SignalTaker['take']): () => void {
  const ignore = listenToSignals();
  const taker = { take };
  current = taker;
  return () => {
    ignore();
    if (current === taker) current = undefined;
  };
}

/** One session's interruption. */
export class InterruptionSource {
  /** Settles at the first wish, or at a failure that ends the session; never rejects. */
  readonly interrupted: Promise<Interruption | Error>;
  private settle!: (by: Interruption | Error) => void;
  private signalled = false;
  private readonly ignore: () => void;

  constructor() {
    this.interrupted = new Promise((resolve) => {
      this.settle = resolve;
    });
    this.ignore = listenToSignals();
    current = this;
  }

  /** A signal; false when it is the second: whoever asks twice does not want to wait for a tidy end. */
  take(signal: Interruption): boolean {
    if (this.signalled) return false;
    this.signalled = true;
    this.settle(signal);
    return true;
  }

  /** The escape key, an output whose reader has gone, or an output that has failed. */
  end(by: Interruption | Error): void {
    this.settle(by);
  }

  /** The session ends, for whatever reason: from now on a signal makes the process leave. */
  conclude(): void {
    this.signalled = true;
  }

  /** Gives the signals back to the process. */
  release(): void {
    this.ignore();
    if (current === this) current = undefined;
  }
}
