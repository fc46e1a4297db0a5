/** API keys: compared in a time that does not depend on where they differ; whose sandboxes a client sees. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { header, RequestError } from './http.js';

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

/** Whether two secrets are equal. */
export function sameSecret(a: string, b: string): boolean {
  return timingSafeEqual(digest(a), digest(b));
}

/** Who makes a request: clients of one key share their sandboxes, and see no others. */
export class ApiKeys {
  readonly #keys: readonly Buffer[];

  /** @param keys none: every client is the user of this machine */
  constructor(keys: readonly string[]) {
    this.#keys = keys.map(digest);
  }

  /**
   * The owner that a request speaks for. A key must be there even when any will do: a page of a browser
   * cannot send the header without being asked for its origin first.
   * @throws RequestError 401
   */
  ownerOf(request: IncomingMessage): string {
    const bearer = /^Bearer (.+)$/.exec(header(request, 'authorization') ?? '')?.[1];
    const key = header(request, 'x-api-key') ?? bearer;
    if (key === undefined) throw new RequestError(401, 'the header X-API-Key is missing');
    if (this.#keys.length === 0) return 'local';
    const given = digest(key);
    let owner: string | undefined;
    // All of them, so that the time tells nothing about which it is.
    for (const known of this.#keys) {
      if (timingSafeEqual(known, given)) owner = known.toString('hex').slice(0, 12);
    }
    if (owner === undefined) throw new RequestError(401, 'the API key is not valid');
    return owner;
  }
}
