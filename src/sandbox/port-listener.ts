/** A port of the host's loopback that leads to one of a sandbox, for browsers and other programs. */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';

export class PortListener {
  readonly #server = createServer({ allowHalfOpen: true }, (client) => void this.#join(client));
  readonly #clients = new Set<Socket>();

  private constructor(private readonly connect: () => Promise<Duplex>) {}

  /** @param connect a connection to the sandbox's port */
  static async open(connect: () => Promise<Duplex>): Promise<PortListener> {
    const listener = new PortListener(connect);
    listener.#server.listen(0, '127.0.0.1').unref();
    await once(listener.#server, 'listening');
    return listener;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async #join(client: Socket): Promise<void> {
    this.#clients.add(client);
    client.once('close', () => this.#clients.delete(client));
    client.on('error', () => undefined);
    let guest: Duplex;
    try {
      guest = await this.connect();
    } catch {
      // Nobody listens there: the client sees the same as if the port were the sandbox's own.
      client.resetAndDestroy();
      return;
    }
    await Promise.allSettled([pipeline(client, guest), pipeline(guest, client)]);
  }

  close(): void {
    this.#server.close();
    for (const client of this.#clients) client.destroy();
  }
}
