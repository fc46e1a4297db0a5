/**
 * Memory that only the garbage collector would give back (WebAssembly.Memory, SharedArrayBuffer), kept for
 * the next VM of the same size: so a process that makes and ends VMs holds what the most of them at one
 * time needed, whenever the collector comes. Whoever gives it away has zeroed it and forgets it.
 */
export class Spares<T> {
  readonly #spare: { readonly bytes: number; readonly memory: T }[] = [];
  readonly #limit: number;

  /** @param limit how many are kept; the oldest goes first */
  constructor(limit: number) {
    this.#limit = limit;
  }

  take(bytes: number): T | undefined {
    const index = this.#spare.findIndex((spare) => spare.bytes === bytes);
    return index < 0 ? undefined : this.#spare.splice(index, 1)[0]?.memory;
  }

  /** Leaves all of them to the garbage collector. */
  clear(): void {
    this.#spare.length = 0;
  }

  give(bytes: number, memory: T): void {
    this.#spare.push({ bytes, memory });
    if (this.#spare.length > this.#limit) this.#spare.shift();
  }
}
