/** The host end of a balloon: discards the guest's free pages, and asks for statistics. */
import type { BalloonLink, Discard, GuestMemoryStatistics } from '../devices/virtio/balloon.js';
import type { HostEnd } from '../devices/virtio/device.js';

/** What of a guest's memory has been discarded, and how it uses its memory. */
export interface BalloonReport {
  /** Bytes that it has reported free so far; it may use them again at any time. */
  readonly discarded: number;
  /** What it last said of its memory; undefined while it has said nothing. */
  readonly statistics: GuestMemoryStatistics | undefined;
}

export class BalloonHost implements HostEnd {
  readonly #link: BalloonLink;
  #discard: (address: number, length: number, zeros: boolean) => number = () => 0;
  #discarded = 0;
  #statistics: GuestMemoryStatistics | undefined;
  /** Who waits for statistics. */
  readonly #waiting = new Set<() => void>();
  #closed = false;

  constructor(link: BalloonLink) {
    this.#link = link;
  }

  /** @param discard discards pages of guest RAM, and returns how many bytes of them there were */
  connect(discard: (...range: Parameters<Discard>) => number): void {
    this.#discard = discard;
  }

  serve(): void {
    if (this.#closed) return;
    this.#link.takeFree((address, length, zeros) => {
      this.#discarded += this.#discard(address, length, zeros);
    });
    if (this.#waiting.size === 0) return;
    const statistics = this.#link.readStatistics();
    if (statistics === undefined) return;
    this.#statistics = statistics;
    this.#answer();
  }

  get report(): BalloonReport {
    return { discarded: this.#discarded, statistics: this.#statistics };
  }

  /**
   * Has the guest say how it uses its memory.
   * @param limit milliseconds that a guest may take; `report` has what it said before then
   */
  async refresh(limit: number): Promise<void> {
    if (this.#closed || !this.#link.running) return;
    const answered = new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(done);
        resolve();
      };
      const timer = setTimeout(done, limit);
      this.#waiting.add(done);
    });
    this.#link.askStatistics();
    return answered;
  }

  #answer(): void {
    for (const done of [...this.#waiting]) done();
  }

  close(): void {
    this.#closed = true;
    this.#answer();
  }
}
