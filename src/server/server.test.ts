/** What the server refuses, before there is any sandbox. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { createConnection } from 'node:net';
import { after, before, test } from 'node:test';
import { PandoError } from '../error.js';
import type { LogEvent } from './options.js';
import { Server } from './server.js';

let server: Server;
before(async () => {
  const limits = { body: 1000, sandboxes: 0, timeout: 60 };
  server = await Server.listen({ apiKeys: ['key'], limits });
});
after(() => server.close());

async function status(
  method: string,
  path: string,
  { headers = {}, body = '' }: { headers?: Record<string, string>; body?: string } = {},
): Promise<number | undefined> {
  const { port } = server;
  const all = { 'x-api-key': 'key', ...headers };
  const asked = request({ host: '127.0.0.1', port, method, path, headers: all });
  asked.end(body);
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  response.resume();
  return response.statusCode;
}

const create = (fields: object) =>
  status('POST', '/v2/sandboxes', { body: JSON.stringify({ templateID: 'base', ...fields }) });

test('other machines need a key', async () => {
  await assert.rejects(
    Server.listen({ host: '0.0.0.0' }),
    (error) => error instanceof PandoError && error.code === 'SERVER_NEEDS_KEY',
  );
});

test('clients need the key', async () => {
  assert.equal(await status('GET', '/sandboxes'), 200);
  assert.equal(await status('GET', '/sandboxes', { headers: { 'x-api-key': 'no' } }), 401);
  assert.equal(await status('GET', '/metrics', { headers: { 'x-api-key': 'no' } }), 401);
  assert.equal(await status('GET', '/health', { headers: { 'x-api-key': 'no' } }), 200);
});

test('a name that was made to lead here is refused', async () => {
  for (const host of ['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example'])
    assert.equal(await status('GET', '/sandboxes', { headers: { host } }), 421, host);
  assert.equal(await status('GET', '/sandboxes', { headers: { host: 'localhost:1' } }), 200);
});

test('paths, methods and bodies that are none', async () => {
  assert.equal(await status('GET', '/nothing'), 404);
  assert.equal(await status('PATCH', '/sandboxes'), 405);
  assert.equal(await status('GET', '/sandboxes/none'), 404);
  assert.equal(await status('GET', '/sandboxes/..%2f..%2fetc'), 404);
  assert.equal(
    await status('DELETE', '/templates/debian'),
    404,
    "images are not a client's to remove",
  );
  assert.equal(await status('POST', '/sandboxes', { body: '{' }), 400);
  assert.equal(await status('POST', '/sandboxes', { body: '[]' }), 400);
  assert.equal(await status('POST', '/sandboxes', { body: `"${'x'.repeat(2000)}"` }), 413);
  assert.equal(await status('GET', '//'), 404);
});

test('what sandboxes may not be', async () => {
  for (const fields of [
    { timeout: 61 },
    { timeout: -1 },
    { timeout: '5' },
    { metadata: { a: 1 } },
    { metadata: [] },
    { envVars: 'A=b' },
    { templateID: 5 },
    { main: { command: 'sh' } },
    { cwd: 'relative' },
    { autoPause: 'yes' },
    { network: { allowOut: ['1.1.1.1'] } },
    { volumeMounts: [{ name: 'a', path: '/b' }] },
  ])
    assert.equal(await create(fields), 400, JSON.stringify(fields));
  assert.equal(
    await create({ templateID: 'served-other-x' }),
    429,
    'as any image that may be there',
  );
  assert.equal(await create({}), 429, 'the limit');
});

test('requests to a sandbox that is not there', async () => {
  const host = `49983-abc.localhost:${server.port}`;
  assert.equal(await status('GET', '/health', { headers: { host } }), 502);
  const headers = { 'e2b-sandbox-id': 'abc', 'e2b-sandbox-port': '49983' };
  assert.equal(await status('POST', '/process.Process/List', { headers }), 502);
  assert.equal(await status('GET', '/files?path=/a&signature=v1_x'), 401);
});

test('a connection waits longer for its next request than a busy machine keeps a process waiting', async () => {
  const { headers } = await fetch(`${server.url}/health`);
  assert.equal(headers.get('keep-alive'), 'timeout=75');
});

test('the head of a request must come to its end', async () => {
  await using impatient = await Server.listen({ limits: { head: 200 } });
  const slow = createConnection(impatient.port, '127.0.0.1');
  slow.write('GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ');
  const [answer] = await once(slow, 'data');
  assert.match(String(answer), /^HTTP\/1\.1 408 /);
  slow.resume();
  await once(slow, 'close');
});

test('a client that goes in the middle of its request is no failure of the server', async () => {
  const events: LogEvent[] = [];
  await using left = await Server.listen({ log: (event) => events.push(event) });
  const client = createConnection(left.port, '127.0.0.1');
  const head = 'POST /sandboxes HTTP/1.1\r\nHost: localhost\r\nX-API-Key: a\r\nContent-Length: 9';
  client.write('GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await once(client, 'data');
  client.write(`${head}\r\n\r\n{`, () => client.destroy());
  const logged = async (): Promise<LogEvent> => {
    const [event] = events;
    if (event !== undefined) return event;
    await fetch(`${left.url}/health`);
    return logged();
  };
  assert.deepEqual(await logged(), { event: 'client-gone', method: 'POST' });
});
