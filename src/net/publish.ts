/** Published ports: what listens on the host and is carried on to a VM. */
import { createServer, isIP, type Server, type Socket } from 'node:net';
import { PandoError } from '../error.js';

/** `[ADDRESS:]HOST_PORT:GUEST_PORT`, as data. */
export interface Publication {
  /** Where the host listens. */
  readonly address: string;
  /** 0 for any that is free. */
  readonly hostPort: number;
  readonly guestPort: number;
}

const LOOPBACK = '127.0.0.1';

/** @throws PandoError NET_PUBLISH_INVALID */
export function parsePublication(text: string): Publication {
  const parts = /^(?:(?:\[([^\]]+)\]|([^:[\]]+)):)?([0-9]{1,5}):([0-9]{1,5})(?:\/tcp)?$/.exec(text);
  const address = parts?.[1] ?? parts?.[2] ?? LOOPBACK;
  const hostPort = Number(parts?.[3]);
  const guestPort = Number(parts?.[4]);
  const ports = hostPort <= 65535 && guestPort >= 1 && guestPort <= 65535;
  if (parts === null || isIP(address) === 0 || !ports) {
    throw new PandoError(
      'NET_PUBLISH_INVALID',
      `published port ${JSON.stringify(text)} is not [ADDRESS:]HOST_PORT:GUEST_PORT`,
      { remedy: 'write it as 127.0.0.1:8080:80, 8080:80 or [::1]:8080:80' },
    );
  }
  return { address, hostPort, guestPort };
}

/** A listening socket of the host's. */
export class PublishedPort {
  readonly guestPort: number;
  readonly #server: Server;

  private constructor(server: Server, guestPort: number) {
    this.#server = server;
    this.guestPort = guestPort;
  }

  /**
   * Listens.
   * @param connected gets each connection, paused, and owns it
   * @throws PandoError NET_PUBLISH_FAILED
   */
  static open(
    { address, hostPort, guestPort }: Publication,
    connected: (socket: Socket) => void,
  ): Promise<PublishedPort> {
    return new Promise((resolve, reject) => {
      const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true });
      server.on('connection', connected);
      server.once('error', (cause) => {
        const message = `listening on ${address} port ${hostPort} failed: ${cause.message}`;
        const remedy = 'choose another address or port, or 0 for any port that is free';
        reject(new PandoError('NET_PUBLISH_FAILED', message, { cause, remedy }));
      });
      server.listen({ host: address, port: hostPort }, () => {
        server.removeAllListeners('error');
        // What accept reports later (no descriptors left) loses one connection.
        server.on('error', () => {});
        resolve(new PublishedPort(server, guestPort));
      });
    });
  }

  /** Where it listens: the port that was free when none was asked for. */
  get hostPort(): number {
    const address = this.#server.address();
    return address !== null && typeof address === 'object' ? address.port : 0;
  }

  /** Listens no more; connections that are there stay. */
  close(): void {
    this.#server.close();
  }
}
