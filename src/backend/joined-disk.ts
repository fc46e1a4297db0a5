/** Several files as one disk that is only read, one behind the other. */
import type { BlockSource } from '../devices/virtio/block-source.js';
import { PandoError } from '../error.js';
import { FileDisk, type FileDiskHandle } from './file-disk.js';

/** What such a disk is reached by from any thread of the process. */
export interface JoinedDiskHandle {
  readonly parts: readonly FileDiskHandle[];
  readonly bytes: number;
}

/** A piece of a transfer that lies in one file. */
interface Share {
  readonly disk: FileDisk;
  readonly at: number;
  readonly into: Uint8Array;
}

function refuse(): never {
  throw new PandoError('DISK_READ_ONLY', 'a disk of several files is only read');
}

export class JoinedDisk implements BlockSource {
  readonly bytes: number;
  readonly readOnly = true;
  readonly blockBytes = 4096;
  readonly #parts: readonly { readonly disk: FileDisk; readonly start: number }[];

  constructor({ parts, bytes }: JoinedDiskHandle) {
    this.bytes = bytes;
    let start = 0;
    this.#parts = parts.map((part) => {
      const placed = { disk: new FileDisk(part), start };
      start += part.bytes;
      return placed;
    });
  }

  *#shares(at: number, into: Uint8Array): Generator<Share> {
    for (const { disk, start } of this.#parts) {
      const from = Math.max(at, start);
      const to = Math.min(at + into.length, start + disk.bytes);
      if (from < to) yield { disk, at: from - start, into: into.subarray(from - at, to - at) };
    }
  }

  read(at: number, into: readonly Uint8Array[]): void {
    let position = at;
    for (const piece of into) {
      for (const share of this.#shares(position, piece)) share.disk.read(share.at, [share.into]);
      position += piece.length;
    }
  }

  async readSlowly(at: number, into: Uint8Array): Promise<void> {
    for (const share of this.#shares(at, into)) await share.disk.readSlowly(share.at, share.into);
  }

  write(): void {
    refuse();
  }

  async writeSlowly(): Promise<void> {
    refuse();
  }

  async flush(): Promise<void> {}

  async zero(): Promise<void> {
    refuse();
  }
}
