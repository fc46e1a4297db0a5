/**
 * An object of the store on its way to the disk, for content that does not fit in memory: bytes go to a
 * temporary file and through the hash together; the name comes at the end, when the hash is known.
 */
import { createHash } from 'node:crypto';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { PandoError, reasonOf } from '../error.js';
import type { ObjectReference } from './manifest.js';

/** Bytes that are gathered before a write. */
const BUFFER_SIZE = 1 << 20;

/** A file being written; `finish` or `abort` must be called. */
export class ObjectWriter {
  private readonly hash = createHash('sha256');
  private readonly buffer = new Uint8Array(BUFFER_SIZE);
  private buffered = 0;
  private written = 0;

  private constructor(
    readonly path: string,
    private readonly file: FileHandle,
  ) {}

  /** @throws PandoError STORE_WRITE_FAILED */
  static async open(path: string): Promise<ObjectWriter> {
    const file = await open(path, 'wx', 0o600).catch((cause) => {
      throw failed(path, cause);
    });
    return new ObjectWriter(path, file);
  }

  /** Bytes written so far. */
  get size(): number {
    return this.written + this.buffered;
  }

  /** @throws PandoError STORE_WRITE_FAILED */
  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const taken = bytes.subarray(at, at + BUFFER_SIZE - this.buffered);
      this.buffer.set(taken, this.buffered);
      this.buffered += taken.length;
      at += taken.length;
      if (this.buffered === BUFFER_SIZE) await this.flush();
    }
  }

  private async flush(): Promise<void> {
    const bytes = this.buffer.subarray(0, this.buffered);
    this.hash.update(bytes);
    try {
      for (let at = 0; at < bytes.length; ) {
        const { bytesWritten } = await this.file.write(bytes, at, bytes.length - at);
        at += bytesWritten;
      }
    } catch (cause) {
      throw failed(this.path, cause);
    }
    this.written += this.buffered;
    this.buffered = 0;
  }

  /**
   * Waits until the bytes are on the disk and closes the file, which keeps its temporary name.
   * @throws PandoError STORE_WRITE_FAILED
   */
  async finish(): Promise<ObjectReference> {
    await this.flush();
    try {
      await this.file.chmod(0o444);
      await this.file.sync();
      await this.file.close();
    } catch (cause) {
      throw failed(this.path, cause);
    }
    return { sha256: this.hash.digest('hex'), size: this.written };
  }

  /** Closes and deletes the file; to be called once a step has failed, and harmless after `finish`. */
  async abort(): Promise<void> {
    await this.file.close().catch(() => undefined);
    await rm(this.path, { force: true });
  }
}

function failed(path: string, cause: unknown): PandoError {
  return new PandoError('STORE_WRITE_FAILED', `${path} cannot be written: ${reasonOf(cause)}`, {
    remedy: 'free some space, or set PANDO_STORE to another folder',
    cause,
  });
}
