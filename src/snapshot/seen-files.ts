/**
 * The files that something was made of, as they were when they were looked at: it need not be made again as long
 * as none of them has become another.
 */
import { statSync } from 'node:fs';
import { identityOf, STAMP_SETTLES_MS } from '../loader/byte-source.js';

export class SeenFiles {
  /** Device, inode, size and times by path. */
  readonly #identities = new Map<string, string | undefined>();
  /** Whether a further change of each must leave another time. */
  #settled = true;

  /**
   * Looks at a file, before it is read.
   * @returns its bytes; undefined when there is none
   */
  see(path: string): number | undefined {
    const found = statSync(path, { bigint: true, throwIfNoEntry: false });
    this.#identities.set(path, found && identityOf(found));
    if (found !== undefined && Date.now() - Number(found.ctimeMs) <= STAMP_SETTLES_MS) {
      this.#settled = false;
    }
    return found && Number(found.size);
  }

  /** Whether all files are still what they were. */
  get unchanged(): boolean {
    if (!this.#settled) return false;
    for (const [path, identity] of this.#identities) {
      const found = statSync(path, { bigint: true, throwIfNoEntry: false });
      if ((found && identityOf(found)) !== identity) return false;
    }
    return true;
  }
}
