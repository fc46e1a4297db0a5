import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { answers, listen } from './listen.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-listen-'));
after(() => rmSync(folder, { recursive: true }));

test('a socket that a killed server has left is taken over, one that answers is not', async () => {
  const path = join(folder, 'left');
  const serve = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  assert.equal(spawnSync(process.execPath, ['-e', serve]).signal, 'SIGKILL');
  assert.equal(await answers(path), false);
  const server = createServer();
  await listen(server, { path });
  assert.equal(await answers(path), true);
  await assert.rejects(listen(createServer(), { path }), { code: 'EADDRINUSE' });
  server.close();
  await once(server, 'close');
  assert.equal(await answers(path), false);
});

test('a file that is no socket stays', async () => {
  const path = join(folder, 'notes');
  writeFileSync(path, 'mine');
  await assert.rejects(listen(createServer(), { path }), { code: 'EADDRINUSE' });
  assert.equal(readFileSync(path, 'utf8'), 'mine');
});
