/** What one client hears of a process: a queue that its writer waits for, so that a slow client stops the process. */
export class Subscription<Event> {
  readonly #queue: Event[] = [];
  #wakeReader: () => void = () => undefined;
  #wakeWriters: (() => void)[] = [];
  #ended = false;
  #failure: Error | undefined;

  /** @param size events that wait for the reader before writers wait */
  constructor(private readonly size: number) {}

  /** Resolves when there is room for another. */
  async put(event: Event): Promise<void> {
    if (this.#ended) return;
    this.#queue.push(event);
    this.#wakeReader();
    if (this.#queue.length < this.size) return;
    await new Promise<void>((resolve) => this.#wakeWriters.push(resolve));
  }

  /** No more events; with a failure the reader gets it after those that wait. */
  end(failure?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#failure = failure;
    this.#wakeReader();
    this.#release();
  }

  #release(): void {
    const writers = this.#wakeWriters;
    this.#wakeWriters = [];
    for (const wake of writers) wake();
  }

  /**
   * The next event, `idle` after `idleMs` without one, undefined at the end.
   * @throws what `end` was given
   */
  async next(idleMs: number): Promise<Event | 'idle' | undefined> {
    if (this.#queue.length === 0 && !this.#ended) {
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.#wakeReader = resolve;
        timer = setTimeout(resolve, idleMs);
      });
      clearTimeout(timer);
    }
    const event = this.#queue.shift();
    if (this.#queue.length < this.size) this.#release();
    if (event !== undefined) return event;
    if (!this.#ended) return 'idle';
    if (this.#failure !== undefined) throw this.#failure;
    return undefined;
  }
}
