/**
 * The host's side of device-load.ts, the same for all systems: a server that guests give their bytes to,
 * take bytes from, and ask to send requests to their own server.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

const CHUNK = Buffer.alloc(65_536, 'x');
/** Connections at once. */
const CLIENTS = 8;
const ANSWER_END = 'hello\n';

export class DeviceLoadServer {
  /** Port of the host that leads to port 80 of the guest. */
  readonly #guestPort: number;
  readonly #server: Server;

  private constructor(guestPort: number) {
    this.#guestPort = guestPort;
    this.#server = createServer((socket) => {
      socket.on('error', () => socket.destroy());
      void this.#serve(socket).catch((error: unknown) => {
        console.error(`device-load: ${String(error)}`);
        socket.destroy();
      });
    });
  }

  static async listen(guestPort: number): Promise<DeviceLoadServer> {
    const own = new DeviceLoadServer(guestPort);
    own.#server.listen(0, '127.0.0.1');
    await once(own.#server, 'listening');
    return own;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  close(): void {
    this.#server.close();
  }

  async #serve(socket: Socket): Promise<void> {
    let line = '';
    while (!line.includes('\n')) {
      const [piece] = (await once(socket, 'data')) as [Buffer];
      line += piece.toString('latin1');
    }
    const end = line.indexOf('\n');
    const [verb, count = '', keep = ''] = line.slice(0, end).split(' ');
    if (verb === 'take') await take(socket, Number(count) - (line.length - end - 1));
    else if (verb === 'give') await give(socket, Number(count));
    else await this.#ask(Number(count), keep === '1');
    if (verb === 'give') socket.end();
    else socket.end('done');
  }

  async #ask(count: number, keep: boolean): Promise<void> {
    let left = count;
    const client = async (): Promise<void> => {
      let socket: Socket | undefined;
      while (left > 0) {
        left -= 1;
        socket ??= connect({ port: this.#guestPort, host: '127.0.0.1', noDelay: true });
        await request(socket, keep);
        if (keep) continue;
        socket.destroy();
        socket = undefined;
      }
      socket?.destroy();
    };
    await Promise.all(Array.from({ length: CLIENTS }, client));
  }
}

function take(socket: Socket, bytes: number): Promise<void> {
  let left = bytes;
  return new Promise((resolve, reject) => {
    socket.on('data', (piece: Buffer) => {
      left -= piece.length;
      if (left === 0) resolve();
    });
    socket.once('close', () => reject(new Error(`${left} bytes did not come`)));
  });
}

async function give(socket: Socket, bytes: number): Promise<void> {
  for (let left = bytes; left > 0; left -= CHUNK.length) {
    const piece = left < CHUNK.length ? CHUNK.subarray(0, left) : CHUNK;
    if (!socket.write(piece)) await once(socket, 'drain');
  }
}

/** Sends one request, and waits for its answer, and for the end where the connection ends with it. */
function request(socket: Socket, keep: boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = '';
    const lost = (): void => reject(new Error(`a request has no answer: ${text}`));
    const done = (): void => {
      socket.off('data', answer).off('end', ended).off('error', lost);
      resolve();
    };
    const answer = (piece: Buffer): void => {
      text += piece.toString('latin1');
      if (keep && text.endsWith(ANSWER_END)) done();
    };
    const ended = (): void => (text.endsWith(ANSWER_END) ? done() : lost());
    socket.on('data', answer).on('end', ended).on('error', lost);
    const connection = keep ? '' : 'Connection: close\r\n';
    socket.write(`GET / HTTP/1.1\r\nHost: guest\r\n${connection}\r\n`);
  });
}
