/**
 * An output of the process: a queue of bytes before a descriptor. `write` never blocks the thread, so that
 * time-outs and signals have their turn while a reader stalls, and never throws: an output that fails
 * drops the bytes it still gets and tells its listener once.
 */

/** Passes bytes on. */
export interface OutputPort {
  /**
   * @param done called once when all bytes have been passed on, or with the error that prevented it;
   *   within the call where nothing had to be waited for
   */
  send(bytes: Uint8Array, done: (cause?: NodeJS.ErrnoException) => void): void;
  /** Stops waiting and frees what the port has opened; `done` is not called any more. */
  close(): void;
}

/** What an output looks like to its writers. */
export interface OutputScreen {
  readonly isTTY?: boolean;
  /** Columns of the terminal; undefined elsewhere. */
  readonly columns?: number | undefined;
  readonly rows?: number | undefined;
}

/** Longest piece that is passed on at once: progress of a slow reader is seen by the piece. */
const PIECE_BYTES = 16 * 1024;
/** From so many waiting bytes on, whoever makes more should hold back. */
const FULL_BYTES = 64 * 1024;

export class Output {
  /** Why the output takes nothing any more. */
  failure: NodeJS.ErrnoException | undefined;
  private readonly queue: Uint8Array[] = [];
  private queued = 0;
  private sending = false;
  private moves = 0;
  private readonly idle: (() => void)[] = [];
  private readonly listeners = new Set<(cause: NodeJS.ErrnoException) => void>();

  /** @param name what a message calls it */
  constructor(
    readonly name: string,
    private readonly port: OutputPort,
    private readonly screen: OutputScreen = {},
  ) {}

  get isTTY(): boolean {
    return this.screen.isTTY === true;
  }

  get columns(): number | undefined {
    return this.screen.columns;
  }

  get rows(): number | undefined {
    return this.screen.rows;
  }

  /** Whether so much waits that its maker should hold back until `drained`. */
  get full(): boolean {
    return this.queued >= FULL_BYTES;
  }

  /** @param data text (UTF-8) or bytes, which must not change afterwards */
  write(data: Uint8Array | string): void {
    if (this.failure !== undefined) return;
    const bytes = typeof data === 'string' ? Buffer.from(data) : data;
    if (bytes.length === 0) return;
    this.queue.push(bytes);
    this.queued += bytes.length;
    if (!this.sending) this.pump();
  }

  /** Calls `listener` when the output fails, at once when it has; returns what unsubscribes. */
  onFailure(listener: (cause: NodeJS.ErrnoException) => void): () => void {
    if (this.failure !== undefined) listener(this.failure);
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Resolves when nothing waits any more, or the output has failed. */
  drained(): Promise<void> {
    if (this.queued === 0) return Promise.resolve();
    return new Promise((resolve) => this.idle.push(resolve));
  }

  /**
   * Passes on what waits.
   * @param patience milliseconds after which a reader that takes nothing is given up; no limit when
   *   undefined
   */
  async flush(patience: number | undefined): Promise<void> {
    if (patience === undefined) return this.drained();
    let timer: NodeJS.Timeout | undefined;
    const stalled = new Promise<void>((resolve) => {
      let seen = this.moves;
      timer = setInterval(() => {
        if (this.moves === seen) resolve();
        seen = this.moves;
      }, patience);
    });
    await Promise.race([this.drained(), stalled]);
    clearInterval(timer);
  }

  /** Frees the port; what still waits is lost. */
  close(): void {
    this.drop();
    this.port.close();
  }

  private pump(): void {
    for (;;) {
      const bytes = this.take();
      if (bytes === undefined) break;
      let returned = false;
      this.sending = true;
      this.port.send(bytes, (cause) => {
        this.sending = false;
        this.moves++;
        this.queued -= bytes.length;
        if (cause !== undefined) this.fail(cause);
        if (returned) this.pump();
      });
      returned = true;
      if (this.sending) return;
    }
    if (this.queued === 0) for (const resolve of this.idle.splice(0)) resolve();
  }

  /** The next piece: chunks of the queue put together, or a part of a long one. */
  private take(): Uint8Array | undefined {
    const first = this.queue.shift();
    if (first === undefined) return undefined;
    if (first.length > PIECE_BYTES) {
      this.queue.unshift(first.subarray(PIECE_BYTES));
      return first.subarray(0, PIECE_BYTES);
    }
    const pieces = [first];
    let length = first.length;
    for (let next = this.queue[0]; next !== undefined; next = this.queue[0]) {
      if (length + next.length > PIECE_BYTES) break;
      pieces.push(next);
      length += next.length;
      this.queue.shift();
    }
    return pieces.length === 1 ? first : Buffer.concat(pieces);
  }

  private drop(): void {
    this.queue.length = 0;
    this.queued = 0;
    for (const resolve of this.idle.splice(0)) resolve();
  }

  private fail(cause: NodeJS.ErrnoException): void {
    this.failure = cause;
    this.drop();
    for (const listener of this.listeners) listener(cause);
  }
}
