import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { memoryOutput } from '../testing/memory-output.js';
import { openOutputFile } from './output-ports.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-output-'));
after(() => rmSync(folder, { recursive: true }));

test('what a stalled reader has not taken waits in order, and says when it is too much', async () => {
  const { output, port } = memoryOutput();
  port.stalled = true;
  for (const part of ['a', 'b'.repeat(70_000), 'c']) output.write(part);
  assert.equal(output.full, true);
  const drained = output.drained();
  port.resume();
  await drained;
  assert.equal(port.text, `a${'b'.repeat(70_000)}c`);
  assert.equal(output.full, false);
});

test('a flush gives up a reader that takes nothing, and waits for one that does', async () => {
  const { output, port } = memoryOutput();
  port.stalled = true;
  output.write('never taken');
  await output.flush(30);
  assert.equal(port.text, '');
  const waiting = output.flush(undefined);
  port.resume();
  await waiting;
  assert.equal(port.text, 'never taken');
});

test('an output that fails tells so once, drops the rest, and lets nobody wait', async () => {
  const { output, port } = memoryOutput();
  const told: unknown[] = [];
  output.onFailure(({ code }) => told.push(code));
  port.stalled = true;
  output.write('x'.repeat(100_000));
  const drained = output.drained();
  port.error = 'ENOSPC';
  port.resume();
  await drained;
  output.write('more');
  await output.flush(undefined);
  assert.deepEqual([told, output.failure?.code, output.full], [['ENOSPC'], 'ENOSPC', false]);
  output.onFailure(({ code }) => told.push(code));
  assert.deepEqual(told, ['ENOSPC', 'ENOSPC'], 'whoever asks later is told at once');
});

test('a FIFO without a reader is refused; one that stalls does not block the thread', async () => {
  const path = join(folder, 'fifo');
  execFileSync('mkfifo', [path]);
  assert.throws(() => openOutputFile(path), { code: 'ENXIO' });
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const output = openOutputFile(path);
  const sent = Buffer.alloc(300_000, 'abcdefg');
  output.write(sent);
  assert.equal(output.full, true);
  const taken: Buffer[] = [];
  const piece = Buffer.alloc(65_536);
  for (let left = sent.length; left > 0; ) {
    try {
      const count = readSync(reader, piece);
      taken.push(Buffer.from(piece.subarray(0, count)));
      left -= count;
    } catch (cause) {
      assert.equal((cause as NodeJS.ErrnoException).code, 'EAGAIN');
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
  await output.drained();
  assert.ok(Buffer.concat(taken).equals(sent));
  closeSync(reader);
  output.write('to nobody');
  assert.equal(output.failure?.code, 'EPIPE');
  output.close();
});
