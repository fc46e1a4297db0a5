/**
 * Where the loader's bytes come from: a file descriptor or memory, read at offsets. Nothing here maps
 * or seeks, so one descriptor serves a loader and a mapping at once.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { PandoError } from '../error.js';

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

/**
 * A source over an open regular file. The size is taken once; a file that shrinks afterwards gives
 * SOURCE_SHRANK on the read that misses bytes.
 */
export class FileSource implements ByteSource {
  readonly size: number;
  readonly fd: number;
  readonly #name: string;

  /**
   * @param fd an open descriptor; it stays the caller's to close
   * @param name what error messages call the file
   * @throws PandoError SOURCE_NOT_A_FILE for directories, pipes and devices
   */
  constructor(fd: number, name = `descriptor ${fd}`) {
    const stat = fstatSync(fd);
    if (!stat.isFile()) {
      throw new PandoError('SOURCE_NOT_A_FILE', `${name} is not a regular file`, {
        remedy: 'give the path of a kernel or initrd file',
      });
    }
    this.fd = fd;
    this.size = stat.size;
    this.#name = name;
  }

  /**
   * Opens a file for reading; `close()` it afterwards.
   * @throws PandoError SOURCE_NOT_READABLE with the system's error as its cause
   */
  static open(path: string): FileSource {
    let fd: number;
    try {
      fd = openSync(path, 'r');
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new PandoError('SOURCE_NOT_READABLE', `cannot open ${path}: ${reason}`, {
        remedy: 'check the path and its permissions',
        cause,
      });
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
    let done = 0;
    while (done < length) {
      const count = readSync(this.fd, bytes, done, length - done, offset + done);
      if (count === 0) {
        throw new PandoError(
          'SOURCE_SHRANK',
          `${this.#name} ended at offset ${offset + done}; it was ${this.size} bytes when opened`,
          { remedy: 'do not change an image while it is being loaded' },
        );
      }
      done += count;
    }
    return bytes;
  }

  close(): void {
    closeSync(this.fd);
  }
}
