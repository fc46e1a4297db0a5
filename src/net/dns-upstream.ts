/** Asks name servers: over UDP from a fresh port each time (RFC 5452), over TCP when asked so. */
import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect, isIPv6 } from 'node:net';
import { read16, write16 } from './bytes.js';
import { answersQuery, type DnsQuery } from './dns-message.js';
import type { Resolver } from './resolvers.js';

/** How long one server is waited for. */
const SERVER_MS = 3000;
const LONGEST_MESSAGE = 65535;

/** One server's answer with the query's own id, or undefined when there is none in time. */
export type Exchange = (
  resolver: Resolver,
  message: Uint8Array,
  query: DnsQuery,
) => Promise<Uint8Array | undefined>;

/** The message under another id, and what its answer has to match. */
function disguised(message: Uint8Array, query: DnsQuery): { sent: Buffer; asked: DnsQuery } {
  const sent = Buffer.from(message);
  const id = randomInt(0x10000);
  write16(sent, 0, id);
  return { sent, asked: { ...query, id } };
}

function restored(answer: Uint8Array, query: DnsQuery): Uint8Array {
  const copy = Uint8Array.from(answer);
  write16(copy, 0, query.id);
  return copy;
}

export const exchangeUdp: Exchange = (resolver, message, query) =>
  new Promise((resolve) => {
    const { sent, asked } = disguised(message, query);
    const socket = createSocket(isIPv6(resolver.address) ? 'udp6' : 'udp4');
    let open = true;
    const finish = (answer: Uint8Array | undefined): void => {
      if (!open) return;
      open = false;
      clearTimeout(timer);
      socket.close();
      resolve(answer);
    };
    const timer = setTimeout(() => finish(undefined), SERVER_MS);
    socket.on('error', () => finish(undefined));
    socket.on('message', (answer) => {
      if (answersQuery(answer, asked)) finish(restored(answer, query));
    });
    socket.connect(resolver.port, resolver.address, () => {
      if (open) socket.send(sent, (error) => error !== null && finish(undefined));
    });
  });

export const exchangeTcp: Exchange = (resolver, message, query) =>
  new Promise((resolve) => {
    const { sent, asked } = disguised(message, query);
    const socket = connect({ host: resolver.address, port: resolver.port });
    let received = Buffer.alloc(0);
    const finish = (answer: Uint8Array | undefined): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => finish(undefined), SERVER_MS);
    socket.on('connect', () => socket.write(framed(sent)));
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      const length = received.length >= 2 ? read16(received, 0) : LONGEST_MESSAGE;
      if (received.length < 2 + length) return;
      const answer = received.subarray(2, 2 + length);
      finish(answersQuery(answer, asked) ? restored(answer, query) : undefined);
    });
    socket.on('error', () => finish(undefined));
    socket.on('close', () => finish(undefined));
  });

/** A message behind its length, as TCP carries it (RFC 1035, 4.2.2). */
export function framed(message: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(2 + message.length);
  write16(bytes, 0, message.length);
  bytes.set(message, 2);
  return bytes;
}
