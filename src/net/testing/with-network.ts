/** Networks and servers of the host for tests, closed again whatever happens. */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { type LinkOptions, Network } from '../network.js';
import type { NetworkOptions } from '../options.js';
import { GuestPeer, type PeerBehaviour } from './guest-peer.js';

/** Runs with a network. */
export async function withNetwork<Result>(
  options: NetworkOptions,
  run: (network: Network) => Promise<Result>,
): Promise<Result> {
  const network = new Network(options);
  // A network keeps no process alive: its timers do not count.
  const alive = setInterval(() => {}, 1000);
  try {
    return await run(network);
  } finally {
    clearInterval(alive);
    network.close();
  }
}

/** A guest that has its address. */
export async function plugIn(
  network: Network,
  options: LinkOptions = {},
  behaviour: PeerBehaviour = {},
): Promise<GuestPeer> {
  const peer = new GuestPeer(await network.link(options), behaviour);
  await peer.dhcp();
  return peer;
}

/** A TCP server of the loopback's. */
export async function tcpServer(
  connected: (socket: Socket) => void,
): Promise<{ server: Server; port: number }> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    // Networks that are closed reset what is open.
    socket.on('error', () => {});
    connected(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, port: (server.address() as AddressInfo).port };
}

/** A UDP server of the loopback's: gives `answer` each message, and sends what it returns. */
export async function udpServer(
  answer: (message: Buffer) => Uint8Array | undefined,
): Promise<{ server: UdpSocket; port: number }> {
  const server = createSocket('udp4');
  server.on('message', (message, from) => {
    const reply = answer(message);
    if (reply !== undefined) server.send(reply, from.port, from.address);
  });
  server.bind(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, port: server.address().port };
}
