/**
 * `pando cp`: files and folders, to a sandbox and from one. What a guest says about names is not trusted:
 * nothing is written outside the folder that the user named, and links of a guest are not followed or made.
 */
import { stat } from 'node:fs/promises';
import { basename, join, posix } from 'node:path';
import { json as jsonOf } from 'node:stream/consumers';
import { PandoError } from '../../error.js';
import {
  checkName,
  fetchTree,
  type GuestTree,
  sendTree,
  type TreeEntry,
} from '../../sandbox/copy.js';
import { Daemon } from './daemon.js';

/** One end: a path of the host, or one of a sandbox. */
export interface CopyEnd {
  readonly sandbox: string | undefined;
  readonly path: string;
}

/** Docker's rule: what has a colon before its first slash names a sandbox. */
export function parseEnd(text: string): CopyEnd {
  const [, sandbox, path = ''] = /^([^/:]+):(.*)$/s.exec(text) ?? [];
  if (sandbox === undefined) return { sandbox, path: text };
  return { sandbox, path: path === '' ? '.' : path };
}

interface GuestEntry {
  readonly name: string;
  readonly type?: string;
  readonly path: string;
  readonly symlinkTarget?: string;
}

/** A sandbox, for its files. */
class GuestFiles implements GuestTree {
  private constructor(
    private readonly daemon: Daemon,
    private readonly access: Readonly<Record<string, string>>,
  ) {}

  static async of(sandbox: string): Promise<GuestFiles> {
    const daemon = await Daemon.reach();
    return new GuestFiles(daemon, await daemon.access(await daemon.find(sandbox)));
  }

  /** One call of the service, in Connect's JSON for calls without streams. */
  async #call<Reply>(name: string, fields: object): Promise<Reply | undefined> {
    const headers = { ...this.access, 'content-type': 'application/json' };
    const path = `/filesystem.Filesystem/${name}`;
    const response = await this.daemon.send('POST', path, headers, JSON.stringify(fields));
    const reply = await jsonOf(response);
    if (response.statusCode === 200) return reply as Reply;
    const { code, message } = reply as { code: string; message: string };
    if (code === 'not_found') return undefined;
    throw new PandoError('COPY_FAILED', message);
  }

  /** undefined when it is not there */
  async stat(path: string): Promise<GuestEntry | undefined> {
    return (await this.#call<{ entry: GuestEntry }>('Stat', { path }))?.entry;
  }

  async list(path: string): Promise<readonly TreeEntry[]> {
    const reply = await this.#call<{ entries?: GuestEntry[] }>('ListDir', { path, depth: 1 });
    return (reply?.entries ?? []).map((entry) => ({ name: entry.name, kind: kindOf(entry) }));
  }

  async makeFolder(path: string): Promise<void> {
    if ((await this.stat(path)) === undefined) await this.#call('MakeDir', { path });
  }

  async read(path: string) {
    const query = new URLSearchParams({ path });
    return this.#checked(await this.daemon.send('GET', `/files?${query}`, this.access));
  }

  async write(path: string, bytes: AsyncIterable<Uint8Array>): Promise<void> {
    const headers = { ...this.access, 'content-type': 'application/octet-stream' };
    const query = new URLSearchParams({ path });
    const response = await this.daemon.send('POST', `/files?${query}`, headers, bytes);
    (await this.#checked(response)).resume();
  }

  async #checked(response: Awaited<ReturnType<Daemon['send']>>) {
    if (response.statusCode === 200) return response;
    throw new PandoError('COPY_FAILED', ((await jsonOf(response)) as { message: string }).message);
  }
}

/** What an entry is; a link is one, whatever it leads to. */
function kindOf({ type, symlinkTarget }: GuestEntry, followed = false): TreeEntry['kind'] {
  if (symlinkTarget !== undefined && !followed) return 'other';
  if (type === 'FILE_TYPE_DIRECTORY') return 'directory';
  return type === 'FILE_TYPE_FILE' ? 'file' : 'other';
}

async function copyIn(guest: GuestFiles, from: string, to: string): Promise<void> {
  const there = await guest.stat(to);
  const folder = there !== undefined && kindOf(there, true) === 'directory';
  await sendTree(guest, from, folder ? posix.join(to, basename(from)) : to);
}

async function copyOut(guest: GuestFiles, from: string, to: string): Promise<void> {
  const entry = await guest.stat(from);
  if (entry === undefined) throw new PandoError('COPY_FAILED', `${from} is not in the sandbox`);
  const there = await stat(to).catch(() => undefined);
  const target = there?.isDirectory() === true ? join(to, checkName(posix.basename(from))) : to;
  // A link to a file is followed where the user names it, one to a folder is not.
  const kind = kindOf(entry, entry.type === 'FILE_TYPE_FILE');
  await fetchTree(guest, { kind }, from, target);
}

/** @throws PandoError USAGE, COPY_…, SANDBOX_NOT_FOUND */
export async function copy(from: string, to: string): Promise<void> {
  const source = parseEnd(from);
  const target = parseEnd(to);
  if ((source.sandbox === undefined) === (target.sandbox === undefined)) {
    throw new PandoError('USAGE', 'one of the two, and one alone, names a sandbox');
  }
  if (target.sandbox !== undefined) {
    await copyIn(await GuestFiles.of(target.sandbox), source.path, target.path);
  } else if (source.sandbox !== undefined) {
    await copyOut(await GuestFiles.of(source.sandbox), source.path, target.path);
  }
}
