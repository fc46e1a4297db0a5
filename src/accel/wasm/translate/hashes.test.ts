/**
 * Where the core keeps blocks and TLB entries is computed a second time on the host side and in translated code: both
 * must agree on every entry that the core has made.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { operationNumbers } from '../isa/table.js';
import * as L from '../layout.js';
import { code, Guest, le } from '../testing/guest.js';
import { BlockReader } from './block-reader.js';
import { execSlot, knownPage } from './exec-tlb.js';

const EMPTY = 0xffff_ffff_ffff_ffffn;
const PAGES = 200;
const FIRST = 0x80000;
const STRIDE = 0x1000;
const HIGH = 0xffff_8000_0000_0000n;

/** A guest that has run, and read from, pages at low and high linear addresses. */
function visited(): Guest {
  const guest = new Guest('long');
  // The upper half begins with the same page tables.
  guest.put(0x1000 + 256 * 8, le(0x2007, 8));
  for (let page = 0; page < PAGES; page++) {
    const at = FIRST + page * STRIDE + ((page * 36) % 0xf00);
    const next = FIRST + (page + 1) * STRIDE + (((page + 1) * 36) % 0xf00);
    const target = page % 2 === 0 ? HIGH + BigInt(next) : BigInt(next);
    // mov rbx,[rip+0]; mov rax,target; jmp rax
    guest.put(at, code('48 8b 1d 00 00 00 00 48 b8', le(target, 8), 'ff e0'));
  }
  guest.put(FIRST + PAGES * STRIDE + ((PAGES * 36) % 0xf00), [0xf4]);
  guest.set64(L.RIP, BigInt(FIRST));
  assert.equal(guest.resume(), L.EXIT_HALT);
  return guest;
}

test('blocks are found in their buckets', () => {
  const guest = visited();
  const view = new DataView(guest.memory.buffer);
  const reader = new BlockReader(view, guest.cpu, operationNumbers(), 0);
  let blocks = 0;
  for (let bucket = 0; bucket < L.BLOCK_HASH_ENTRIES; bucket++) {
    let block = view.getUint32(L.BLOCK_HASH + bucket * 4, true);
    for (; block !== 0; block = view.getUint32(block + L.BLK_CHAIN, true)) {
      blocks++;
      assert.equal(reader.find(reader.phys(block), reader.mode(block)), block);
    }
  }
  assert.ok(blocks >= PAGES, `${blocks} blocks`);
});

test('pages are found in the exec TLB', () => {
  const guest = visited();
  const view = new DataView(guest.memory.buffer);
  const set = guest.cpu + L.TLB_SUPERVISOR;
  let entries = 0;
  for (const way of [L.TLB_EXEC, L.TLB_EXEC_SECOND]) {
    for (let slot = 0; slot < L.TLB_BYTES; slot += 16) {
      const page = view.getBigUint64(set + way + slot, true);
      if (page === EMPTY) continue;
      entries++;
      assert.equal(execSlot(page), slot);
      assert.equal(knownPage(view, set, page), view.getUint32(set + way + slot + 8, true));
    }
  }
  assert.ok(entries > PAGES / 2, `${entries} entries`);
});

test('pages have the place in the data TLBs where translated code looks', () => {
  const guest = visited();
  const view = new DataView(guest.memory.buffer);
  let entries = 0;
  for (const tlb of [L.TLB_READ, L.TLB_WRITE]) {
    for (let slot = 0; slot < L.TLB_BYTES; slot += 16) {
      const page = view.getBigUint64(guest.cpu + L.TLB_SUPERVISOR + tlb + slot, true);
      if (page === EMPTY) continue;
      entries++;
      // As FunctionBuilder writes it.
      const looked = Number((page >> 8n) & BigInt((L.TLB_ENTRIES - 1) << 4));
      assert.equal(looked, slot);
    }
  }
  assert.ok(entries > PAGES / 2, `${entries} entries`);
});
