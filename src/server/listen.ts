/** Listening on a port, or on a UNIX socket that an earlier server may have left. */
import { once } from 'node:events';
import { lstatSync, rmSync } from 'node:fs';
import { createConnection, type ListenOptions, type Server } from 'node:net';
import { reasonOf } from '../error.js';

async function begin(server: Server, where: ListenOptions): Promise<void> {
  server.listen(where);
  await once(server, 'listening');
}

/**
 * Whether a server answers on a socket; one that was killed has left a file that nobody listens on.
 * @throws the system's errors, but for those that say that nobody listens
 */
export async function answers(path: string): Promise<boolean> {
  const socket = createConnection(path);
  try {
    await once(socket, 'connect');
    return true;
  } catch (error) {
    const reason = reasonOf(error);
    if (reason === 'ENOENT' || reason === 'ECONNREFUSED') return false;
    throw error;
  } finally {
    socket.destroy();
  }
}

/** @throws the system's errors */
export async function listen(server: Server, where: ListenOptions): Promise<void> {
  try {
    await begin(server, where);
  } catch (error) {
    const { path } = where;
    if (path === undefined || reasonOf(error) !== 'EADDRINUSE' || (await answers(path)))
      throw error;
    // A file of the user's that is no socket is not ours to remove.
    if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() === false) throw error;
    rmSync(path, { force: true });
    await begin(server, where);
  }
}
