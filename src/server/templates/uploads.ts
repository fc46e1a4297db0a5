/**
 * Archives of files that steps of builds copy. Clients send each to a link of its own, which they got with their
 * key and send without: the link is the secret. They are kept until their template's builds are over.
 */
import { randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { removeStale, temporaryName } from '../../image/atomic-file.js';
import { RequestError } from '../http.js';

/** Archives that a server has links for. */
const UPLOADS = 10_000;

interface Upload {
  readonly template: string;
  readonly hash: string;
  readonly path: string;
  bytes: number;
  state: 'awaited' | 'coming' | 'whole';
}

export class Uploads {
  readonly #uploads = new Map<string, Upload>();
  /** Bytes of all. */
  #total = 0;

  /**
   * @param limit bytes of all archives together
   * @param folder where they are kept; what dead servers left there is deleted
   */
  constructor(
    private readonly limit: number,
    private readonly folder: string,
  ) {}

  #find(template: string, hash: string): string | undefined {
    const found = [...this.#uploads].find(
      ([, each]) => each.template === template && each.hash === hash,
    );
    return found?.[0];
  }

  /**
   * The link's secret for an archive, and whether the archive is there.
   * @param hash the client's, of the files
   * @throws RequestError 429
   */
  link(template: string, hash: string): { readonly token: string; readonly present: boolean } {
    const known = this.#find(template, hash);
    if (known !== undefined) {
      return { token: known, present: this.#uploads.get(known)?.state === 'whole' };
    }
    if (this.#uploads.size >= UPLOADS) {
      throw new RequestError(429, `the server waits for ${UPLOADS} archives: that is the limit`);
    }
    const token = randomBytes(24).toString('base64url');
    const path = temporaryName(this.folder);
    this.#uploads.set(token, { template, hash, path, bytes: 0, state: 'awaited' });
    return { token, present: false };
  }

  async *#counted(upload: Upload, body: Readable): AsyncGenerator<Buffer, void, void> {
    for await (const piece of body) {
      const { length } = piece as Buffer;
      upload.bytes += length;
      this.#total += length;
      if (this.#total > this.limit) {
        throw new RequestError(413, `archives of more than ${this.limit} bytes together`);
      }
      yield piece as Buffer;
    }
  }

  async #discard(upload: Upload): Promise<void> {
    this.#total -= upload.bytes;
    upload.bytes = 0;
    await rm(upload.path, { force: true });
  }

  /** Receives an archive, in place of an earlier one. @throws RequestError 404, 409, 413 */
  async receive(token: string, request: IncomingMessage): Promise<void> {
    const upload = this.#uploads.get(token);
    if (upload === undefined) throw new RequestError(404, 'there is no such link');
    if (upload.state === 'coming') throw new RequestError(409, 'the link is in use');
    upload.state = 'coming';
    const { path } = upload;
    try {
      await this.#discard(upload);
      await mkdir(this.folder, { recursive: true });
      await removeStale(this.folder);
      await pipeline(this.#counted(upload, request), createWriteStream(path, { mode: 0o600 }));
      upload.state = 'whole';
    } catch (error) {
      upload.state = 'awaited';
      await this.#discard(upload);
      throw error;
    }
    // Its template may have gone meanwhile.
    if (!this.#uploads.has(token)) await this.#discard(upload);
  }

  /** The file of an archive that has come. */
  file(template: string, hash: string): string | undefined {
    const upload = this.#uploads.get(this.#find(template, hash) ?? '');
    return upload?.state === 'whole' ? upload.path : undefined;
  }

  /** Deletes the archives of a template, and its links. */
  async forget(template: string): Promise<void> {
    for (const [token, upload] of [...this.#uploads]) {
      if (upload.template !== template) continue;
      this.#uploads.delete(token);
      if (upload.state === 'whole') await this.#discard(upload);
    }
  }

  async close(): Promise<void> {
    const templates = new Set([...this.#uploads.values()].map(({ template }) => template));
    for (const template of templates) await this.forget(template);
  }
}
