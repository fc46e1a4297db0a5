/** Requests and answers of HTTP as all parts of the server have them. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { PandoError } from '../error.js';

/** A request that is answered by an HTTP error. */
export class RequestError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
    this.name = 'RequestError';
  }
}

export function sendJson(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): void {
  const bytes = Buffer.from(JSON.stringify(body));
  response.writeHead(status, {
    ...headers,
    'content-type': 'application/json',
    'content-length': bytes.length,
  });
  response.end(bytes);
}

/** Statuses of errors that the library throws: by their code, or by its beginning. */
const STATUSES: readonly (readonly [code: string, status: number])[] = [
  ['SANDBOX_NOT_FOUND', 404],
  ['SANDBOX_ENDED', 502],
  ['SNAPSHOT_NOT_FOUND', 404],
  ['IMAGE_NOT_FOUND', 404],
  ['SNAPSHOT_EXISTS', 409],
  ['SNAPSHOT_NAME', 400],
  ['IMAGE_NAME', 400],
  ['GUEST_ENOENT', 404],
  ['GUEST_ENOSPC', 507],
  ['GUEST_ECONNREFUSED', 502],
  ['GUEST_', 400],
  ['AGENT_', 502],
  ['VSOCK_', 502],
];

/** The status and the text that a failure is answered by. */
export function answerOf(error: unknown): { readonly status: number; readonly message: string } {
  if (error instanceof RequestError) return { status: error.status, message: error.message };
  if (error instanceof PandoError) {
    const status = STATUSES.find(([code]) => error.code.startsWith(code))?.[1] ?? 500;
    return { status, message: error.toLine() };
  }
  return { status: 500, message: 'internal error' };
}

/** Answers a failure; a response that has begun is cut off, so that its reader sees that it is no whole one. */
export function sendError(response: ServerResponse, error: unknown): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const { status, message } = answerOf(error);
  // A client that has more to send hears the answer when what it has sent is read.
  response.req.resume();
  sendJson(response, status, { code: status, message }, { connection: 'close' });
}

/**
 * The JSON body of a request; an empty one is an empty object.
 * @throws RequestError 400, 413
 */
export async function readJson(
  request: IncomingMessage,
  limit: number,
): Promise<Readonly<Record<string, unknown>>> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of request) {
    size += (piece as Buffer).length;
    if (size > limit) throw new RequestError(413, `the body is larger than ${limit} bytes`);
    pieces.push(piece as Buffer);
  }
  if (size === 0) return {};
  let value: unknown;
  try {
    value = JSON.parse(Buffer.concat(pieces).toString('utf8'));
  } catch {
    throw new RequestError(400, 'the body is not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new RequestError(400, 'the body is not an object');
  }
  return value as Readonly<Record<string, unknown>>;
}

/** One value of a header that may occur once. */
export function header(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
}
