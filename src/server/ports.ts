/**
 * HTTP and WebSocket to the ports of a sandbox. A request for `PORT-ID.DOMAIN`, or with E2B's headers, goes
 * to that port of the sandbox's loopback; what a client shows the server to be let in stays here.
 */
import {
  request as httpRequest,
  type IncomingMessage,
  type RequestOptions,
  type ServerResponse,
} from 'node:http';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { reasonOf } from '../error.js';
import type { HostedSandbox } from './hosted-sandbox.js';
import { header, RequestError } from './http.js';

/** Where a request goes: the port of a sandbox. */
export interface Destination {
  readonly id: string;
  readonly port: number;
}

/** Headers that belong to one connection (RFC 9110, section 7.6.1), or to this server. */
const OWN_HEADERS = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'x-api-key',
  'x-access-token',
  'e2b-sandbox-id',
  'e2b-sandbox-port',
]);

function portOf(text: string): number {
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port >= 1 && port <= 0xffff) return port;
  throw new RequestError(400, `${text} is no port`);
}

/**
 * Where a request goes, or undefined for the server itself.
 * @param domain of the host names of sandboxes
 * @throws RequestError 400
 */
export function destinationOf(request: IncomingMessage, domain: string): Destination | undefined {
  const host = (header(request, 'host') ?? '').replace(/:\d+$/, '').toLowerCase();
  const name = host.endsWith(`.${domain}`) ? host.slice(0, -domain.length - 1) : undefined;
  const words = name === undefined ? null : /^(\d+)-([a-z0-9]+)$/.exec(name);
  if (words !== null) return { id: words[2] ?? '', port: portOf(words[1] ?? '') };
  if (name !== undefined) throw new RequestError(400, `${host} names no port of a sandbox`);
  const id = header(request, 'e2b-sandbox-id');
  if (id === undefined) return undefined;
  return { id, port: portOf(header(request, 'e2b-sandbox-port') ?? '') };
}

/** Names and values in turn, without those that end here. */
function passedOn(raw: readonly string[]): string[] {
  const passed: string[] = [];
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at] ?? '';
    if (!OWN_HEADERS.has(name.toLowerCase())) passed.push(name, raw[at + 1] ?? '');
  }
  return passed;
}

/**
 * Passes a request on and its answer back.
 * @throws PandoError GUEST_ECONNREFUSED and others, RequestError 502
 */
export async function forwardRequest(
  hosted: HostedSandbox,
  port: number,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const socket = await hosted.sandbox.connect(port);
  const options: RequestOptions = {
    method: request.method ?? 'GET',
    path: request.url ?? '/',
    headers: passedOn(request.rawHeaders) as unknown as Record<string, string>,
    // Without an agent, which would make connections of its own.
    createConnection: () => socket as never,
  };
  try {
    const forwarded = httpRequest(options);
    const answer = new Promise<IncomingMessage>((resolve, reject) => {
      forwarded.once('response', resolve);
      forwarded.once('error', reject);
    });
    response.once('close', () => socket.destroy());
    // A server may answer before it has read all, and its answer counts.
    pipeline(request, forwarded).catch(() => undefined);
    let answered: IncomingMessage;
    try {
      answered = await answer;
    } catch (error) {
      const why = reasonOf(error);
      throw new RequestError(502, `port ${port} of the sandbox gave no answer: ${why}`);
    }
    const { statusCode = 502, statusMessage, rawHeaders } = answered;
    response.writeHead(statusCode, statusMessage, passedOn(rawHeaders));
    await pipeline(answered, response);
  } finally {
    socket.destroy();
  }
}

/** Passes on a connection that changes its protocol: the two ends then talk to each other. */
export async function forwardUpgrade(
  hosted: HostedSandbox,
  port: number,
  request: IncomingMessage,
  client: Duplex,
  head: Buffer,
): Promise<void> {
  const socket = await hosted.sandbox.connect(port);
  const lines = [`${request.method} ${request.url} HTTP/1.1`];
  const fields = passedOn(request.rawHeaders);
  for (let at = 0; at < fields.length; at += 2) lines.push(`${fields[at]}: ${fields[at + 1]}`);
  lines.push('Connection: Upgrade', `Upgrade: ${header(request, 'upgrade') ?? ''}`);
  socket.write(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
  socket.write(head);
  await Promise.allSettled([pipeline(client, socket), pipeline(socket, client)]);
}
