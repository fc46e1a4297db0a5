import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, createConnection } from 'node:net';
import { test } from 'node:test';
import { PortListener } from './port-listener.js';

test('connections lead to the port, and end with the listener', async () => {
  const inner = createServer((request, response) => request.pipe(response)).listen(0, '127.0.0.1');
  await once(inner, 'listening');
  const { port } = inner.address() as AddressInfo;
  let there = true;
  const listener = await PortListener.open(async () => {
    if (!there) throw new Error('nobody listens');
    const socket = createConnection({ port, host: '127.0.0.1', allowHalfOpen: true });
    await once(socket, 'connect');
    return socket;
  });
  try {
    const bytes = Buffer.alloc(1_000_000, 'bytes ');
    const answer = await fetch(listener.url, { method: 'POST', body: bytes });
    assert.ok(bytes.equals(Buffer.from(await answer.arrayBuffer())));
    const open = createConnection(Number(new URL(listener.url).port), '127.0.0.1');
    await once(open, 'connect');
    there = false;
    const refused = createConnection(Number(new URL(listener.url).port), '127.0.0.1');
    await assert.rejects(once(refused, 'end'), { code: 'ECONNRESET' });
    listener.close();
    await Promise.race([once(open, 'close'), once(open, 'error')]);
  } finally {
    listener.close();
    inner.closeAllConnections();
    inner.close();
  }
});
