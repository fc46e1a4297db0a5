import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { RequestError, sendError } from './http.js';
import { destinationOf, forwardRequest, forwardUpgrade } from './ports.js';
import { HostSandbox } from './testing/host-sandbox.js';

const guest = new HostSandbox();
const hosted = guest.hosted();
const portOf = (server: Server) => (server.address() as AddressInfo).port;

/** What listens in the sandbox, and what is before it. */
const inner = createServer((incoming, response) => {
  response.writeHead(201, 'Fine', { 'x-answer': 'yes', connection: 'close' });
  response.write(JSON.stringify(incoming.headers));
  incoming.pipe(response);
});
inner.on('upgrade', (incoming: IncomingMessage, socket) => {
  socket.write(
    `HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: ${incoming.headers.upgrade}\r\n\r\n`,
  );
  socket.pipe(socket);
});
const outer = createServer((incoming, response) => {
  const port = incoming.url === '/silent' ? portOf(silent) : portOf(inner);
  forwardRequest(hosted, port, incoming, response).catch((error) => sendError(response, error));
});
outer.on('upgrade', (incoming, socket, head) => {
  void forwardUpgrade(hosted, portOf(inner), incoming, socket, head);
});
const silent = createServer((incoming) => incoming.socket.destroy());

before(async () => {
  for (const server of [inner, outer, silent]) {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  }
});
after(async () => {
  for (const server of [inner, outer, silent]) {
    server.closeAllConnections();
    server.close();
  }
  await guest.close();
});

test('host names and headers say where a request goes', () => {
  const to = (headers: Record<string, string>) =>
    destinationOf({ headers } as unknown as IncomingMessage, 'localhost');
  assert.deepEqual(to({ host: '8080-abc1.localhost:3000' }), { id: 'abc1', port: 8080 });
  assert.deepEqual(to({ host: '80-ABC1.LOCALHOST' }), { id: 'abc1', port: 80 });
  const headers = { 'e2b-sandbox-id': 'abc1', 'e2b-sandbox-port': '49983' };
  assert.deepEqual(to({ host: '127.0.0.1', ...headers }), { id: 'abc1', port: 49983 });
  // The host name counts: a page cannot set it, but headers it can.
  assert.equal(to({ host: '1-b.localhost', ...headers })?.id, 'b');
  for (const host of ['localhost', '127.0.0.1:3000', 'evil-localhost', 'x.localhost.evil.com'])
    assert.equal(to({ host }), undefined);
  for (const host of [
    'abc.localhost',
    '0-abc.localhost',
    '65536-abc.localhost',
    '080808-a.localhost',
    '80-a.b.localhost',
    '80-.localhost',
    '80-../x.localhost',
  ])
    assert.throws(() => to({ host }), RequestError, host);
  assert.throws(() => to({ host: 'localhost', 'e2b-sandbox-id': 'a' }), RequestError);
});

async function ask(path: string, headers = {}, body = ''): Promise<[IncomingMessage, string]> {
  const asked = request({ port: portOf(outer), host: '127.0.0.1', path, method: 'POST', headers });
  asked.end(body);
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  let text = '';
  for await (const piece of response) text += String(piece);
  return [response, text];
}

test('a request and its answer pass, without what is for the server', async () => {
  const headers = { host: '1-a.localhost', 'x-api-key': 'K', 'x-access-token': 'T', cookie: 'c=1' };
  const [response, text] = await ask('/path', headers, 'BODY');
  assert.deepEqual([response.statusCode, response.statusMessage], [201, 'Fine']);
  assert.equal(response.headers['x-answer'], 'yes');
  assert.match(text, /"host":"1-a\.localhost"/);
  assert.match(text, /"cookie":"c=1"/);
  assert.match(text, /BODY$/);
  assert.doesNotMatch(text, /x-api-key|x-access-token/);
});

test('a port that gives no answer is a 502', async () => {
  assert.equal((await ask('/silent'))[0].statusCode, 502);
});

test('a connection that changes its protocol is passed on both ways', async () => {
  const headers = { connection: 'Upgrade', upgrade: 'websocket' };
  const asked = request({ port: portOf(outer), host: '127.0.0.1', headers });
  asked.end();
  const [response, socket] = await once(asked, 'upgrade');
  assert.equal(response.headers.upgrade, 'websocket');
  socket.write('there and back');
  assert.equal(String((await once(socket, 'data'))[0]), 'there and back');
  socket.destroy();
});
