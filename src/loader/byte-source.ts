/**
 * Where the loader's bytes come from: a file descriptor or memory, read at offsets. Nothing here maps
 * or seeks, so one descriptor serves a loader and a mapping at once.
 */
import { type BigIntStats, closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { PandoError, reasonOf } from '../error.js';
import { remedyFor } from '../system-error.js';

/** Random access to a fixed number of bytes. */
export interface ByteSource {
  /** Length in bytes, fixed when the source was made. */
  readonly size: number;
  /**
   * Exactly `length` bytes from `offset`. The result may share memory with the source: do not write.
   * @throws PandoError SOURCE_READ_PAST_END when the range is not inside `size`
   */
  read(offset: number, length: number): Uint8Array;
}

function checkRange(size: number, offset: number, length: number): void {
  const valid = Number.isSafeInteger(offset) && Number.isSafeInteger(length);
  if (!valid || offset < 0 || length < 0 || offset + length > size) {
    throw new PandoError(
      'SOURCE_READ_PAST_END',
      `read of ${length} bytes at offset ${offset} reaches past the end at ${size}`,
    );
  }
}

/** A source over bytes in memory; reads are views, not copies. */
export class BytesSource implements ByteSource {
  readonly size: number;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.size = bytes.length;
  }

  read(offset: number, length: number): Uint8Array {
    checkRange(this.size, offset, length);
    return this.#bytes.subarray(offset, offset + length);
  }
}

/** Longer than the kernel's tick, by which files are stamped (1 to 10 ms). */
export const STAMP_SETTLES_MS = 20;

/**
 * A source over an open regular file. The size is taken once; a file that shrinks afterwards gives
 * FILE_CHANGED on the read that misses bytes.
 */
export class FileSource implements ByteSource {
  readonly size: number;
  readonly fd: number;
  /** What error messages call the file. */
  readonly name: string;
  #identity: string | undefined;

  /**
   * @param fd an open descriptor; it stays the caller's to close
   * @throws PandoError FILE_NOT_REGULAR for directories, pipes and devices
   */
  constructor(fd: number, name = `descriptor ${fd}`) {
    const stat = fstatSync(fd);
    if (!stat.isFile()) {
      throw new PandoError('FILE_NOT_REGULAR', `${name} is not a regular file`, {
        remedy: 'save it to a file first',
      });
    }
    this.fd = fd;
    this.size = stat.size;
    this.name = name;
  }

  /**
   * Opens a file for reading; `close()` it afterwards. Does not wait for the other end of a pipe.
   * @throws PandoError FILE_NOT_FOUND, FILE_UNREADABLE, FILE_NOT_REGULAR
   */
  static open(path: string): FileSource {
    let fd: number;
    try {
      fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    } catch (cause) {
      throw fileError(path, cause);
    }
    try {
      return new FileSource(fd, path);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  read(offset: number, length: number): Uint8Array {
    checkRange(this.size, offset, length);
    const bytes = new Uint8Array(length);
    this.readInto(bytes, offset);
    return bytes;
  }

  /**
   * Fills `bytes` from `offset`.
   * @throws PandoError FILE_CHANGED, FILE_UNREADABLE
   */
  readInto(bytes: Uint8Array, offset: number): void {
    for (let done = 0; done < bytes.length; ) {
      let count: number;
      try {
        count = readSync(this.fd, bytes, done, bytes.length - done, offset + done);
      } catch (cause) {
        throw fileError(this.name, cause);
      }
      if (count === 0) {
        throw this.#changed(`ended at offset ${offset + done}, was ${this.size} bytes when opened`);
      }
      done += count;
    }
  }

  /**
   * Tells this content from any other that the file had or will have, without reading it: device, inode,
   * size and times. A file that was written a moment ago is waited for, at most 20 ms, until a further
   * change must leave another time.
   */
  identify(): string {
    const stat = fstatSync(this.fd, { bigint: true });
    if (Date.now() - Number(stat.ctimeMs) <= STAMP_SETTLES_MS) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, STAMP_SETTLES_MS);
    }
    this.#identity = identityOf(fstatSync(this.fd, { bigint: true }));
    return this.#identity;
  }

  /** Whether the file is what `identify` saw. Another name that it gets, or loses, is a change of its times, too. */
  get unchanged(): boolean {
    const stat = fstatSync(this.fd, { bigint: true });
    return Number(stat.size) === this.size && identityOf(stat) === this.#identity;
  }

  /**
   * Call it when everything has been read.
   * @throws PandoError FILE_CHANGED when the file is no longer what `identify` saw
   */
  checkUnchanged(): void {
    if (!this.unchanged) throw this.#changed('changed while it was being read');
  }

  #changed(how: string): PandoError {
    return new PandoError('FILE_CHANGED', `${this.name} ${how}`, {
      remedy: 'start again once nobody writes to it',
    });
  }

  close(): void {
    closeSync(this.fd);
  }
}

export function identityOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(':');
}

/** A system error about a file that a user names. */
function fileError(path: string, cause: unknown): PandoError {
  const code = (cause as NodeJS.ErrnoException).code;
  if (code === 'ENOENT') {
    return new PandoError('FILE_NOT_FOUND', `${path} does not exist`, {
      remedy: 'check the path',
      cause,
    });
  }
  const remedy = remedyFor(code) ?? 'name a file that you may read';
  return new PandoError('FILE_UNREADABLE', `${path}: ${reasonOf(cause)}`, { remedy, cause });
}

/** Several sources, one behind the other; a read across a boundary is a copy. */
export class JoinedSource implements ByteSource {
  readonly size: number;
  readonly #parts: readonly { readonly source: ByteSource; readonly start: number }[];

  constructor(sources: readonly ByteSource[]) {
    let size = 0;
    this.#parts = sources.map((source) => {
      const start = size;
      size += source.size;
      return { source, start };
    });
    this.size = size;
  }

  read(offset: number, length: number): Uint8Array {
    checkRange(this.size, offset, length);
    const pieces: Uint8Array[] = [];
    for (const { source, start } of this.#parts) {
      const from = Math.max(offset, start);
      const to = Math.min(offset + length, start + source.size);
      if (from < to) pieces.push(source.read(from - start, to - from));
    }
    return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
  }
}
