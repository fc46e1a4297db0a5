/** What a sandbox's main command has printed: the end of it, byte for byte, for whoever asks later or follows. */

export interface OutputPiece {
  readonly stream: 'stdout' | 'stderr';
  /** When it came. */
  readonly time: Date;
  readonly data: Uint8Array;
}

/** Bytes that are kept. */
const LIMIT = 2 ** 20;
/** Of each piece beside its bytes, so that small pieces are bounded, too. */
const PIECE_COST = 128;
const LINE_FEED = 10;

export class OutputLog {
  #pieces: OutputPiece[] = [];
  /** Pieces before the first that is kept. */
  #dropped = 0;
  #size = 0;
  #ended = false;
  readonly #waiting = new Set<() => void>();

  /** @param now the clock */
  constructor(private readonly now: () => Date = () => new Date()) {}

  add(stream: OutputPiece['stream'], bytes: Uint8Array): void {
    // Of its own: the bytes are part of a buffer that is much larger.
    const data = Uint8Array.from(bytes.subarray(-LIMIT));
    this.#pieces.push({ stream, time: this.now(), data });
    this.#size += data.length + PIECE_COST;
    let gone = 0;
    for (; this.#size > LIMIT + PIECE_COST; gone += 1) {
      this.#size -= (this.#pieces[gone]?.data.length ?? 0) + PIECE_COST;
    }
    if (gone > 0) this.#pieces = this.#pieces.slice(gone);
    this.#dropped += gone;
    this.#wake();
  }

  /** No more comes. */
  end(): void {
    this.#ended = true;
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
  }

  /**
   * What is kept, oldest first; a reader who is slower than the command misses what is dropped meanwhile.
   * @param lines the last lines alone; one that has no end yet counts
   * @param signal follows what comes, until the end or the signal; absent: what is there now
   */
  async *read(lines = Number.POSITIVE_INFINITY, signal?: AbortSignal): AsyncGenerator<OutputPiece> {
    let next = this.#dropped + this.#pieces.length;
    yield* this.#tail(lines);
    while (signal !== undefined && !signal.aborted) {
      next = Math.max(next, this.#dropped);
      const piece = this.#pieces[next - this.#dropped];
      if (piece !== undefined) {
        next += 1;
        yield piece;
      } else if (this.#ended) return;
      else await this.#more(signal);
    }
  }

  #tail(lines: number): OutputPiece[] {
    if (lines === 0) return [];
    let seen = 0;
    for (const [at, piece] of [...this.#pieces.entries()].reverse()) {
      const { data } = piece;
      const isLast = at === this.#pieces.length - 1;
      for (let end = data.length - 1; end >= 0; end -= 1) {
        const begins = data[end] === LINE_FEED && !(isLast && end === data.length - 1);
        if (!begins) continue;
        seen += 1;
        if (seen < lines) continue;
        const rest = { ...piece, data: data.subarray(end + 1) };
        return [rest, ...this.#pieces.slice(at + 1)].filter((each) => each.data.length > 0);
      }
    }
    return [...this.#pieces];
  }

  /** Resolves when there is more, or the signal comes. */
  async #more(signal: AbortSignal): Promise<void> {
    let wake: () => void = () => undefined;
    const come = new Promise<void>((resolve) => {
      wake = resolve;
    });
    this.#waiting.add(wake);
    signal.addEventListener('abort', wake);
    await come;
    this.#waiting.delete(wake);
    signal.removeEventListener('abort', wake);
  }
}
