import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { appendFileSync, linkSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { PandoError } from '../error.js';
import { contentOf } from './file-content.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-content-'));
after(() => rmSync(folder, { recursive: true }));
const store = join(folder, 'store');
const path = join(folder, 'file');

test('a file that gets another name while it is read is the same file', async () => {
  const bytes = randomBytes(3 << 20);
  writeFileSync(path, bytes);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const read = contentOf(path, store);
  linkSync(path, join(folder, 'other'));
  assert.deepEqual(await read, { sha256, size: bytes.length });
});

test('one that is written to while it is read is refused', async () => {
  writeFileSync(path, randomBytes(3 << 20));
  const read = contentOf(path, store);
  appendFileSync(path, 'more');
  await assert.rejects(
    read,
    (error) => error instanceof PandoError && error.code === 'FILE_CHANGED',
  );
});
