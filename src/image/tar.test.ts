import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { readTarFile } from './tar.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-tar-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const deepName = `${'d'.repeat(90)}/${'e'.repeat(90)}/file`;
const content = Buffer.from(Array.from({ length: 1500 }, (_, i) => (i * 7) & 0xff));
mkdirSync(join(folder, 'in', deepName, '..'), { recursive: true });
writeFileSync(join(folder, 'in', deepName), 'deep');
writeFileSync(join(folder, 'in', 'a'), 'first');
writeFileSync(join(folder, 'in', 'b'), content);
writeFileSync(join(folder, 'in', 'empty'), '');

/** An archive as GNU tar writes it. */
function archive(format: string): Buffer {
  const names = ['./a', `./${deepName}`, './b', './empty'];
  const { stdout, status } = spawnSync(
    'tar',
    ['-c', '-C', join(folder, 'in'), `--format=${format}`, ...names],
    { maxBuffer: 1 << 24 },
  );
  assert.equal(status, 0);
  return stdout;
}

async function* pieces(bytes: Uint8Array, length: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
}

function read(bytes: Uint8Array, path: string, { piece = 1000, limit = 1e6 } = {}) {
  return readTarFile(pieces(bytes, piece), (name) => name === path, limit);
}

/** A copy with one header field changed and its checksum made right again. */
function changed(bytes: Buffer, offset: number, field: string): Buffer {
  const copy = Buffer.from(bytes);
  copy.write(field, offset, 'latin1');
  copy.fill(0x20, 148, 156);
  const sum = copy.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  copy.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return copy;
}

describe('tar reader', () => {
  for (const format of ['ustar', 'gnu', 'pax']) {
    it(`finds files in an archive of format ${format}, however the stream is cut`, async () => {
      const bytes = archive(format);
      for (const piece of [1, 511, 512, 513, 1 << 20]) {
        assert.deepEqual(Buffer.from((await read(bytes, 'b', { piece }))!.bytes), content);
      }
      assert.equal(Buffer.from((await read(bytes, 'a'))!.bytes).toString(), 'first');
      assert.equal((await read(bytes, 'empty'))!.bytes.length, 0);
      assert.equal(await read(bytes, 'none'), undefined);
    });
  }

  it('reads names that are split into prefix and name', async () => {
    assert.equal(Buffer.from((await read(archive('ustar'), deepName))!.bytes).toString(), 'deep');
  });

  it('reports malformed archives', async () => {
    const bytes = archive('ustar');
    const flipped = Buffer.from(bytes);
    flipped[0]! ^= 1;
    const cases: readonly [string, Uint8Array, RegExp][] = [
      ['wrong checksum', flipped, /wrong header checksum at offset 0/],
      ['no magic', changed(bytes, 257, 'uztar'), /no ustar magic/],
      ['size not octal', changed(bytes, 124, '0000000009x'), /number "0000000009x"/],
      ['negative size', changed(bytes, 124, '\xff'.repeat(12)), /size -\d+ at offset 0/],
      ['size of 90 bits', changed(bytes, 124, '\x8f'), /more than 53 bits/],
      ['size past the end', changed(bytes, 124, '77777777777'), /a is truncated/],
      ['truncated in a header', bytes.subarray(0, 300), /no end block at offset 300/],
      ['empty', bytes.subarray(0, 0), /no end block at offset 0/],
      ['not an archive', Buffer.alloc(2048, 'x'), /at offset 0/],
    ];
    for (const [what, malformed, message] of cases) {
      await assert.rejects(read(malformed, 'none'), { code: 'TAR_MALFORMED', message }, what);
    }
    await assert.rejects(read(bytes.subarray(0, 514), 'a'), {
      code: 'TAR_MALFORMED',
      message: /a is truncated at offset 514/,
    });
  });

  it('does not allocate more than the caller allows', async () => {
    const huge = changed(archive('ustar'), 124, '77777777777');
    await assert.rejects(read(huge, 'a'), { code: 'TAR_FILE_TOO_LARGE' });
    await assert.rejects(read(archive('ustar'), 'b', { limit: 1499 }), {
      code: 'TAR_FILE_TOO_LARGE',
      message: /b has 1500 bytes, the limit is 1499/,
    });
  });
});
