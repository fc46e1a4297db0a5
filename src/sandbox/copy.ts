/**
 * Files and folders between the host and a guest. What a guest says about names is not trusted: nothing is
 * written outside the folder that the caller named, and links are neither followed nor made.
 */
import { constants, createWriteStream } from 'node:fs';
import { lstat, mkdir, open, readdir } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { PandoError } from '../error.js';
import type { Agent } from './agent/agent.js';

/** An entry of a guest's folder, or the one that a copy begins with. */
export interface TreeEntry {
  readonly name: string;
  /** `other`: a link, a device, a pipe or a socket. */
  readonly kind: 'directory' | 'file' | 'other';
  /** Access rights, where they are known. */
  readonly mode?: number;
}

/** A guest's files, by whatever leads to them. */
export interface GuestTree {
  list(folder: string): AsyncIterable<TreeEntry> | Promise<readonly TreeEntry[]>;
  makeFolder(path: string): Promise<void>;
  read(path: string): Promise<NodeJS.ReadableStream>;
  write(path: string, bytes: AsyncIterable<Uint8Array>, mode: number): Promise<void>;
}

/** The file that is opened is the one of this name, not one that a link of this name leads to. */
const { O_CREAT, O_NOFOLLOW, O_RDONLY, O_TRUNC, O_WRONLY } = constants;
const WRITE_HERE = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW;

/** A name that a guest has for a file in a folder. @throws PandoError COPY_NAME for one that leads elsewhere */
export function checkName(name: string): string {
  if (name !== '' && name !== '.' && name !== '..' && !/[/\0]/.test(name)) return name;
  throw new PandoError('COPY_NAME', `the guest has a file of the name ${JSON.stringify(name)}`, {
    remedy: 'the guest is not to be trusted any more: end it',
  });
}

/** A folder of the host that is itself one, not a link to one. @throws PandoError COPY_TARGET */
async function ownFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true });
  if ((await lstat(path)).isDirectory()) return;
  throw new PandoError('COPY_TARGET', `${path} is no folder, but leads to one`);
}

/** Copies a file, or a folder with all that is in it, but for links, devices, pipes and sockets. */
export async function sendTree(guest: GuestTree, from: string, to: string): Promise<void> {
  const kind = await lstat(from);
  if (kind.isDirectory()) {
    await guest.makeFolder(to);
    for (const name of await readdir(from)) {
      await sendTree(guest, join(from, name), posix.join(to, name));
    }
  } else if (kind.isFile()) {
    const file = await open(from, O_RDONLY | O_NOFOLLOW);
    try {
      const bytes = file.createReadStream({ autoClose: false });
      await guest.write(to, bytes, kind.mode & 0o777);
    } finally {
      await file.close();
    }
  }
}

/** The same from the guest, beginning with `entry` at `from`. @throws PandoError COPY_NAME, COPY_TARGET, GUEST_… */
export async function fetchTree(
  guest: GuestTree,
  entry: Omit<TreeEntry, 'name'>,
  from: string,
  to: string,
): Promise<void> {
  if (entry.kind === 'directory') {
    await ownFolder(to);
    for await (const inner of await guest.list(from)) {
      const name = checkName(inner.name);
      await fetchTree(guest, inner, posix.join(from, name), join(to, name));
    }
  } else if (entry.kind === 'file') {
    // The stream to the file is made last: from then on its errors are the pipeline's.
    const bytes = await guest.read(from);
    const rights = entry.mode === undefined ? {} : { mode: entry.mode & 0o777 };
    await pipeline(bytes, createWriteStream(to, { flags: WRITE_HERE as never, ...rights }));
  }
}

const kindOf = (kind: string): TreeEntry['kind'] =>
  kind === 'directory' || kind === 'file' ? kind : 'other';

/** The files of a guest, by its agent. */
function treeOf(agent: Agent): GuestTree {
  return {
    async *list(folder) {
      for await (const { path, kind, mode } of agent.list(folder, 1))
        yield { name: path, kind: kindOf(kind), mode };
    },
    makeFolder: (path) => agent.mkdir(path, { recursive: true }),
    read: (path) => agent.read(path),
    write: (path, bytes, mode) => agent.write(path, bytes, { mode, parents: true }),
  };
}

/** `sendTree` to the guest of an agent. */
export function copyIn(agent: Agent, from: string, to: string): Promise<void> {
  return sendTree(treeOf(agent), from, to);
}

/** `fetchTree` from the guest of an agent. */
export async function copyOut(agent: Agent, from: string, to: string): Promise<void> {
  const { kind, mode } = await agent.stat(from, true);
  await fetchTree(treeOf(agent), { kind: kindOf(kind), mode }, from, to);
}
