/** What a machine has decoded goes into the machines that go on from it, without translations, and only where it is right. */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import * as L from '../../accel/wasm/layout.js';
import { CPU, SmallGuest } from '../../accel/wasm/testing/small-guest.js';
import { GuestMemory } from '../../memory/guest-memory.js';
import { SharedFile } from '../../memory/memory-layout.js';
import { captureCode, mapCode } from './decoded-code.js';

/** DEC ECX; JNZ back, then INC EAX; JMP to the start, which sets ECX to 100. */
const LOOP = [0xb9, 100, 0, 0, 0, 0xff, 0xc9, 0x75, 0xfc, 0xff, 0xc0, 0xeb, 0xf3];

function ran(options: { threshold?: number }): { guest: SmallGuest; code: SharedFile } {
  const guest = new SmallGuest(LOOP, options);
  for (let at = 1000n; at <= 100_000n; at *= 3n) guest.advance(at);
  const code = captureCode(guest.memory);
  assert.ok(code !== undefined);
  return { guest, code };
}

/** A machine with as much RAM, or other, that has decoded nothing. */
function fresh({ ramBytes }: GuestMemory, more = 0): GuestMemory {
  const memory = GuestMemory.create({ ramBytes: ramBytes + more, controlBytes: L.GUEST_BASE });
  new DataView(memory.buffer).setUint32(CPU + L.ARENA_NEXT, L.BLOCK_ARENA, true);
  return memory;
}

/** Blocks that the hash table leads to, and how many of them have a translation. */
function blocks({ buffer }: GuestMemory): { found: number; translated: number; end: number } {
  const view = new DataView(buffer);
  let found = 0;
  let translated = 0;
  for (let bucket = 0; bucket < L.BLOCK_HASH_ENTRIES; bucket++) {
    let block = view.getUint32(L.BLOCK_HASH + bucket * 4, true);
    for (; block !== 0; block = view.getUint32(block + L.BLK_CHAIN, true)) {
      found += 1;
      if (view.getUint32(block + L.BLK_CODE, true) !== 0) translated += 1;
    }
  }
  return { found, translated, end: view.getUint32(CPU + L.ARENA_NEXT, true) };
}

/** A file with the same bytes but for those that `change` changes. */
function changed(code: SharedFile, folder: string, change: (bytes: Buffer) => void): SharedFile {
  const bytes = Buffer.alloc(code.size);
  readSync(code.fd, bytes, 0, code.size, 0);
  change(bytes);
  const path = join(folder, 'code');
  writeFileSync(path, bytes);
  const fd = openSync(path, 'r');
  return new SharedFile(fd, bytes.length, undefined, () => closeSync(fd));
}

describe('decoded code of a captured machine', () => {
  test('goes into another one, where no block is translated', () => {
    const { guest, code } = ran({ threshold: 20 });
    assert.ok(guest.translated() > 0, 'the first machine translates');
    const memory = fresh(guest.memory);
    mapCode(memory, code);
    const before = blocks(guest.memory);
    assert.deepEqual(blocks(memory), { ...before, translated: 0 });
    assert.equal(
      blocks(guest.memory).translated,
      before.translated,
      'the first goes on with its own',
    );
    memory.release();
    code.close();
  });

  test('is not taken by a machine of another size, or of another core', () => {
    const { guest, code } = ran({});
    const folder = mkdtempSync(join(tmpdir(), 'pando-code-'));
    const other = changed(code, folder, (bytes) => bytes.writeUInt8(bytes[8]! ^ 1, 8));
    const beyond = changed(code, folder, (bytes) => bytes.writeUInt32LE(L.BLOCK_ARENA_END + 16, 4));
    for (const [file, more] of [
      [code, 0x10000],
      [other, 0],
      [beyond, 0],
    ] as const) {
      const memory = fresh(guest.memory, more);
      mapCode(memory, file);
      assert.deepEqual(blocks(memory), { found: 0, translated: 0, end: L.BLOCK_ARENA });
      memory.release();
    }
    for (const file of [code, other, beyond]) file.close();
    rmSync(folder, { recursive: true });
  });

  test('is none where nothing has been decoded', () => {
    const guest = new SmallGuest(LOOP, {});
    assert.equal(captureCode(guest.memory), undefined);
  });
});
