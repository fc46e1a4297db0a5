/** An output that keeps what is written, and stalls or fails when a test says so. */
import { Output, type OutputPort } from '../terminal/output.js';

export class MemoryPort implements OutputPort {
  text = '';
  closed = false;
  /** While true nothing is passed on. */
  stalled = false;
  /** The error of everything that is passed on from now on. */
  error: string | undefined;
  private resumed: (() => void) | undefined;

  send(bytes: Uint8Array, done: (cause?: NodeJS.ErrnoException) => void): void {
    const pass = (): void => {
      if (this.error !== undefined) {
        done(Object.assign(new Error(this.error), { code: this.error }));
        return;
      }
      this.text += new TextDecoder().decode(bytes);
      done();
    };
    if (this.stalled) this.resumed = pass;
    else pass();
  }

  /** The reader takes bytes again. */
  resume(): void {
    this.stalled = false;
    const pass = this.resumed;
    this.resumed = undefined;
    pass?.();
  }

  close(): void {
    this.closed = true;
  }
}

/** An output over a port of its own. */
export function memoryOutput(isTTY = false): {
  readonly output: Output;
  readonly port: MemoryPort;
} {
  const port = new MemoryPort();
  return { output: new Output('memory', port, { isTTY }), port };
}
