/** A raw file or a block device as a disk. Descriptors belong to the process: every thread may use them. */
import { fdatasync, read, readvSync, write, writevSync } from 'node:fs';
import { promisify } from 'node:util';
import type { BlockSource } from '../devices/virtio/block-source.js';
import { PandoError } from '../error.js';
import { punchHole, zeroRange } from '../host/fallocate.js';

const readAsync = promisify(read);
const writeAsync = promisify(write);
const syncAsync = promisify(fdatasync);

/** What a disk is reached by from any thread of the process. */
export interface FileDiskHandle {
  readonly fd: number;
  readonly bytes: number;
  readonly readOnly: boolean;
}

const BLOCK = 4096;

export class FileDisk implements BlockSource {
  readonly bytes: number;
  readonly readOnly: boolean;
  readonly blockBytes = BLOCK;
  readonly #fd: number;

  constructor({ fd, bytes, readOnly }: FileDiskHandle) {
    this.#fd = fd;
    this.bytes = bytes;
    this.readOnly = readOnly;
  }

  read(at: number, into: readonly Uint8Array[]): void {
    transfer(readvSync, this.#fd, at, into, 'read');
  }

  write(at: number, from: readonly Uint8Array[]): void {
    transfer(writevSync, this.#fd, at, from, 'write');
  }

  async readSlowly(at: number, into: Uint8Array): Promise<void> {
    for (let done = 0; done < into.length; ) {
      const left = into.length - done;
      const { bytesRead } = await readAsync(this.#fd, into, done, left, at + done);
      if (bytesRead === 0) throw shortTransfer('read', at + done);
      done += bytesRead;
    }
  }

  async writeSlowly(at: number, from: Uint8Array): Promise<void> {
    for (let done = 0; done < from.length; ) {
      const left = from.length - done;
      const { bytesWritten } = await writeAsync(this.#fd, from, done, left, at + done);
      done += bytesWritten;
    }
  }

  flush(): Promise<void> {
    return syncAsync(this.#fd);
  }

  async zero(at: number, length: number, unmap: boolean): Promise<void> {
    if (unmap && (await punchHole(this.#fd, at, length))) return;
    if (await zeroRange(this.#fd, at, length)) return;
    const zeros = new Uint8Array(Math.min(length, 1 << 20));
    for (let done = 0; done < length; done += zeros.length) {
      await this.writeSlowly(at + done, zeros.subarray(0, Math.min(zeros.length, length - done)));
    }
  }
}

/** The whole of a vectored transfer: a file may give less at once, and none past its end. */
function transfer(
  call: (fd: number, pieces: readonly Uint8Array[], at: number) => number,
  fd: number,
  at: number,
  pieces: readonly Uint8Array[],
  what: string,
): void {
  let rest = pieces;
  let position = at;
  while (rest.length > 0) {
    let moved = call(fd, rest, position);
    if (moved === 0) throw shortTransfer(what, position);
    position += moved;
    let first = 0;
    while (first < rest.length && moved >= rest[first]!.length) {
      moved -= rest[first]!.length;
      first += 1;
    }
    const [head, ...others] = rest.slice(first);
    rest = head === undefined ? [] : [head.subarray(moved), ...others];
  }
}

function shortTransfer(what: string, at: number): PandoError {
  return new PandoError('DISK_SHORT', `the disk's file ended in a ${what} at byte ${at}`);
}
