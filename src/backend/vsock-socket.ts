/**
 * A UNIX socket through which other programs reach ports of a guest: the first line is `CONNECT <port>`, the
 * answer `OK <host port>`, and what follows is the connection. Others' monitors have the same.
 */
import { rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { PandoError, reasonOf } from '../error.js';

/** `CONNECT 4294967295` and a line's end. */
const LINE_LIMIT = 32;

export class VsockSocket {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(private readonly connect: (port: number) => Promise<Duplex>) {
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#serve(socket));
  }

  /**
   * Listens at a path that is free.
   * @throws PandoError VSOCK_SOCKET_FAILED
   */
  static async listen(
    path: string,
    connect: (port: number) => Promise<Duplex>,
  ): Promise<VsockSocket> {
    const made = new VsockSocket(connect);
    await new Promise<void>((resolve, reject) => {
      made.#server.once('error', (cause: NodeJS.ErrnoException) => {
        const message = `no socket can be made at ${path}: ${reasonOf(cause)}`;
        const remedy = 'give another path, or remove the file that is there';
        reject(new PandoError('VSOCK_SOCKET_FAILED', message, { remedy, cause }));
      });
      made.#server.listen(path, resolve);
    });
    return made;
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    let line = '';
    const read = (bytes: Buffer): void => {
      line += bytes.toString('latin1');
      const end = line.indexOf('\n');
      if (end < 0 && line.length <= LINE_LIMIT) return;
      socket.off('data', read);
      socket.pause();
      const port = Number(/^CONNECT (\d{1,10})\r?$/.exec(line.slice(0, Math.max(end, 0)))?.[1]);
      if (!(port <= 0xffff_ffff)) socket.destroy();
      else void this.#join(socket, port, Buffer.from(line.slice(end + 1), 'latin1'));
    };
    socket.on('data', read);
  }

  async #join(socket: Socket, port: number, rest: Buffer): Promise<void> {
    let stream: Duplex;
    try {
      stream = await this.connect(port);
    } catch {
      socket.destroy();
      return;
    }
    const hostPort = 'hostPort' in stream ? String(stream.hostPort) : '0';
    socket.write(`OK ${hostPort}\n`);
    if (rest.length > 0) stream.write(rest);
    socket.pipe(stream).pipe(socket);
    socket.once('close', () => stream.destroy());
    stream.once('error', () => socket.destroy());
    stream.once('close', () => socket.end());
  }

  close(): void {
    const path = this.#server.address();
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    if (typeof path === 'string') rmSync(path, { force: true });
  }
}
