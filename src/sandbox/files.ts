/** Files of a sandbox, in the shape of node:fs/promises. */

import type { Readable } from 'node:stream';
import { PandoError } from '../error.js';
import type { Agent, WatchEvent, WriteOptions } from './agent/agent.js';
import type { FileEntry } from './agent/entry.js';
import { copyIn, copyOut } from './copy.js';

/** What happened to a file. */
export interface FileChange {
  readonly type: 'create' | 'write' | 'remove' | 'rename' | 'attributes' | 'overflow';
  /** Path below the watched folder. */
  readonly path: string;
}

/* Masks of inotify(7). */
const IN_MODIFY = 0x2;
const IN_ATTRIB = 0x4;
const IN_MOVED = 0xc0;
const IN_CREATE = 0x100;
const IN_DELETE = 0x200;

function changeOf({ mask, path }: WatchEvent): FileChange {
  if (mask & IN_CREATE) return { type: 'create', path };
  if (mask & IN_DELETE) return { type: 'remove', path };
  if (mask & IN_MOVED) return { type: 'rename', path };
  if (mask & IN_MODIFY) return { type: 'write', path };
  if (mask & IN_ATTRIB) return { type: 'attributes', path };
  return { type: 'overflow', path };
}

export class SandboxFiles {
  constructor(private readonly agent: Agent) {}

  /**
   * A file's bytes, or its text.
   * @throws PandoError GUEST_ENOENT and other GUEST_…
   */
  async readFile(path: string): Promise<Buffer>;
  async readFile(path: string, encoding: BufferEncoding): Promise<string>;
  async readFile(path: string, encoding?: BufferEncoding): Promise<Buffer | string> {
    const pieces: Buffer[] = [];
    for await (const piece of await this.agent.read(path)) pieces.push(piece as Buffer);
    const bytes = Buffer.concat(pieces);
    return encoding === undefined ? bytes : bytes.toString(encoding);
  }

  /** A part of a file as a stream. @param range bytes */
  createReadStream(
    path: string,
    range?: { readonly offset?: number; readonly length?: number },
  ): Promise<Readable> {
    return this.agent.read(path, range);
  }

  /** Writes a file; folders above it are made. */
  async writeFile(
    path: string,
    data: Uint8Array | string | AsyncIterable<Uint8Array | string>,
    options: WriteOptions = {},
  ): Promise<void> {
    await this.agent.write(path, data, { parents: true, ...options });
  }

  async appendFile(path: string, data: Uint8Array | string): Promise<void> {
    await this.agent.write(path, data, { append: true });
  }

  stat(path: string): Promise<FileEntry> {
    return this.agent.stat(path, true);
  }

  lstat(path: string): Promise<FileEntry> {
    return this.agent.stat(path, false);
  }

  async exists(path: string): Promise<boolean> {
    try {
      await this.agent.stat(path, true);
      return true;
    } catch (error) {
      if (!(error instanceof PandoError)) throw error;
      if (error.code === 'GUEST_ENOENT' || error.code === 'GUEST_ENOTDIR') return false;
      throw error;
    }
  }

  /** What is in a folder, `depth` levels deep, in order of the paths. */
  async readdir(
    path: string,
    { depth = 1 }: { readonly depth?: number } = {},
  ): Promise<FileEntry[]> {
    const entries: FileEntry[] = [];
    for await (const entry of this.agent.list(path, depth)) entries.push(entry);
    return entries.sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  /** The same as it comes, for folders of any size. */
  opendir(path: string, { depth = 1 }: { readonly depth?: number } = {}): AsyncIterable<FileEntry> {
    return this.agent.list(path, depth);
  }

  mkdir(
    path: string,
    options: { readonly recursive?: boolean; readonly mode?: number } = {},
  ): Promise<void> {
    return this.agent.mkdir(path, options);
  }

  rename(from: string, to: string): Promise<void> {
    return this.agent.rename(from, to);
  }

  rm(path: string, { recursive = false }: { readonly recursive?: boolean } = {}): Promise<void> {
    return this.agent.remove(path, recursive);
  }

  chmod(path: string, mode: number): Promise<void> {
    return this.agent.chmod(path, mode);
  }

  symlink(target: string, path: string): Promise<void> {
    return this.agent.symlink(target, path);
  }

  /**
   * Copies a file or a folder of the host; what is in `to` already stays. Links and devices are left out.
   * @throws PandoError GUEST_…, and the system's
   */
  copyIn(from: string, to: string): Promise<void> {
    return copyIn(this.agent, from, to);
  }

  /**
   * Copies a file or a folder to the host. Links and devices are left out, and none is followed, in the guest
   * or at the target.
   * @throws PandoError COPY_NAME for a name that leads elsewhere, COPY_TARGET, GUEST_…, and the system's
   */
  copyOut(from: string, to: string): Promise<void> {
    return copyOut(this.agent, from, to);
  }

  /** What happens in a folder from when this resolves; ends when the loop is left, or by `signal`. */
  async watch(
    path: string,
    options: { readonly recursive?: boolean; readonly signal?: AbortSignal } = {},
  ): Promise<AsyncGenerator<FileChange, void, void>> {
    const { recursive = false, signal } = options;
    signal?.throwIfAborted();
    return changes(await this.agent.watch(path, recursive, signal));
  }
}

async function* changes(
  events: AsyncGenerator<WatchEvent, void, void>,
): AsyncGenerator<FileChange, void, void> {
  for await (const event of events) yield changeOf(event);
}
