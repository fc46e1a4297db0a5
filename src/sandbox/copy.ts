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
import type { FileEntry } from './agent/entry.js';

/** The file that is opened is the one of this name, not one that a link of this name leads to. */
const { O_CREAT, O_NOFOLLOW, O_TRUNC, O_WRONLY } = constants;
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
export async function copyIn(agent: Agent, from: string, to: string): Promise<void> {
  const kind = await lstat(from);
  if (kind.isDirectory()) {
    await agent.mkdir(to, { recursive: true });
    for (const name of await readdir(from)) {
      await copyIn(agent, join(from, name), posix.join(to, name));
    }
  } else if (kind.isFile()) {
    const file = await open(from);
    try {
      const bytes = file.createReadStream({ autoClose: false });
      await agent.write(to, bytes, { mode: kind.mode & 0o777, parents: true });
    } finally {
      await file.close();
    }
  }
}

/** The same from the guest. @throws PandoError COPY_NAME, COPY_TARGET, GUEST_… */
export async function copyOut(agent: Agent, from: string, to: string): Promise<void> {
  const copy = async (entry: FileEntry, path: string, place: string): Promise<void> => {
    if (entry.kind === 'directory') {
      await ownFolder(place);
      for await (const inner of agent.list(path, 1)) {
        const name = checkName(inner.path);
        await copy(inner, posix.join(path, name), join(place, name));
      }
    } else if (entry.kind === 'file') {
      // The stream to the file is made last: from then on its errors are the pipeline's.
      const bytes = await agent.read(path);
      await pipeline(
        bytes,
        createWriteStream(place, { flags: WRITE_HERE as never, mode: entry.mode & 0o777 }),
      );
    }
  };
  await copy(await agent.stat(from, true), from, to);
}
