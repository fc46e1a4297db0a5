/** Listening on a port, or on a UNIX socket that an earlier server may have left. */
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { createConnection, type ListenOptions, type Server } from 'node:net';
import { reasonOf } from '../error.js';

async function begin(server: Server, where: ListenOptions): Promise<void> {
  server.listen(where);
  await once(server, 'listening');
}

/** Whether a server answers on a socket; one that was killed has left a file that nobody listens on. */
async function isAlive(path: string): Promise<boolean> {
  const socket = createConnection(path);
  try {
    await once(socket, 'connect');
    return true;
  } catch (error) {
    return reasonOf(error) !== 'ECONNREFUSED';
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
    if (path === undefined || reasonOf(error) !== 'EADDRINUSE' || (await isAlive(path)))
      throw error;
    rmSync(path, { force: true });
    await begin(server, where);
  }
}
