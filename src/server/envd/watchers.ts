/** Watched folders of clients that ask for events from time to time instead of holding a stream open. */
import { randomUUID } from 'node:crypto';
import type { FileChange } from '../../sandbox/files.js';
import { RequestError } from '../http.js';

/** Watchers of a sandbox, and events that one keeps: what comes after them is lost, as with inotify(7). */
const WATCHERS = 64;
const EVENTS = 10_000;

interface Watcher {
  readonly stop: AbortController;
  readonly changes: FileChange[];
}

export class Watchers {
  readonly #watchers = new Map<string, Watcher>();

  /**
   * Begins to keep what happens.
   * @param open watches until the signal
   * @throws RequestError 429
   */
  async add(open: (signal: AbortSignal) => Promise<AsyncIterable<FileChange>>): Promise<string> {
    if (this.#watchers.size >= WATCHERS) {
      throw new RequestError(429, `the sandbox has ${WATCHERS} watchers: that is the limit`);
    }
    const id = randomUUID();
    const watcher: Watcher = { stop: new AbortController(), changes: [] };
    this.#watchers.set(id, watcher);
    try {
      void this.#collect(await open(watcher.stop.signal), watcher);
    } catch (error) {
      this.#watchers.delete(id);
      throw error;
    }
    return id;
  }

  async #collect(changes: AsyncIterable<FileChange>, watcher: Watcher): Promise<void> {
    try {
      for await (const change of changes)
        if (watcher.changes.length < EVENTS) watcher.changes.push(change);
    } catch {
      // The sandbox has ended, and nobody can ask any more.
    }
  }

  /** What has happened since the last time. @throws RequestError 404 */
  take(id: string): FileChange[] {
    return this.#get(id).changes.splice(0);
  }

  /** @throws RequestError 404 */
  remove(id: string): void {
    this.#get(id).stop.abort();
    this.#watchers.delete(id);
  }

  #get(id: string): Watcher {
    const watcher = this.#watchers.get(id);
    if (watcher === undefined) throw new RequestError(404, `there is no watcher ${id}`);
    return watcher;
  }
}
