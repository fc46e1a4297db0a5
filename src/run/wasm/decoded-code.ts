/**
 * What a captured machine has decoded, as a file that machines which go on from the capture map copy-on-write into
 * their control areas (accel/wasm/layout.ts): a page that says of what it is, the hash table, the code maps of the
 * guest's pages, the blocks. Translations are a process's own, and left out.
 */
import { coreBytes, decodeTables } from '../../accel/wasm/core-module.js';
import * as L from '../../accel/wasm/layout.js';
import { PAGE_SIZE } from '../../arch/layout.js';
import type { GuestMemory } from '../../memory/guest-memory.js';
import { type SharedFile, sealedFile } from '../../memory/memory-layout.js';
import { sha256 } from '../../platform/hash.js';

/* The first page: u32 number of the guest's pages, u32 end of the blocks, SHA-256 of the core. */
const GUEST_PAGES = 0;
const BLOCKS_END = 4;
const CORE = 8;
const HEAD_BYTES = 40;

/** A range of the control area, in whole pages. */
interface Piece {
  readonly offset: number;
  readonly length: number;
}

const wholePages = (bytes: number): number => Math.ceil(bytes / PAGE_SIZE) * PAGE_SIZE;

/** What finds the blocks; the blocks themselves are behind it. */
function indexPieces({ ramBytes }: GuestMemory): readonly Piece[] {
  const maps = wholePages((ramBytes / PAGE_SIZE) * L.PAGE_CODE_ENTRY);
  return [
    { offset: L.BLOCK_HASH, length: L.BLOCK_HASH_ENTRIES * 4 },
    { offset: L.PAGE_CODE, length: maps },
  ];
}

function pieces(memory: GuestMemory, end: number): readonly Piece[] {
  const blocks = { offset: L.BLOCK_ARENA, length: wholePages(end - L.BLOCK_ARENA) };
  return [...indexPieces(memory), blocks];
}

let core: Buffer | undefined;

/** Of what decides what a block looks like. */
function coreDigest(): Buffer {
  core ??= sha256(coreBytes(), decodeTables());
  return core;
}

/** Lets the blocks of a copy have no translations. @param live the control area that it is a copy of */
function stripTranslations(copy: DataView, live: DataView, guestPages: number, end: number): void {
  const isBlock = (block: number): boolean => block >= L.BLOCK_ARENA && block < end;
  for (let page = 0; page < guestPages; page++) {
    let link = L.PAGE_CODE + page * L.PAGE_CODE_ENTRY + 4;
    let block = live.getUint32(link, true);
    while (block !== 0) {
      if (isBlock(block)) {
        copy.setUint32(link, block, true);
        copy.setUint32(block + L.BLK_CODE, 0, true);
        copy.setUint16(block + L.BLK_WARM, 0, true);
        link = block + L.BLK_PAGE_NEXT;
      }
      block = live.getUint32(block + L.BLK_PAGE_NEXT, true);
    }
    if (copy.getUint32(link, true) !== 0) copy.setUint32(link, 0, true);
  }
}

/**
 * Copies what has been decoded of a guest's code. No vCPU runs, and none of the code has been written since.
 * @returns undefined when nothing has been decoded
 * @throws HostError when there is no memory for it
 */
export function captureCode(memory: GuestMemory): SharedFile | undefined {
  const live = new DataView(memory.buffer);
  const end = live.getUint32(L.VCPU_BLOCKS + L.ARENA_NEXT, true);
  if (end <= L.BLOCK_ARENA) return undefined;
  const guestPages = memory.ramBytes / PAGE_SIZE;
  // As the control area, so that addresses are the same.
  const copy = new Uint8Array(L.BLOCK_ARENA + wholePages(end - L.BLOCK_ARENA));
  const all = pieces(memory, end);
  for (const { offset, length } of all) {
    copy.set(new Uint8Array(memory.buffer, offset, length), offset);
  }
  stripTranslations(new DataView(copy.buffer), live, guestPages, end);
  const head = Buffer.alloc(PAGE_SIZE);
  head.writeUInt32LE(guestPages, GUEST_PAGES);
  head.writeUInt32LE(end, BLOCKS_END);
  coreDigest().copy(head, CORE);
  const bytes = all.map(({ offset, length }) => copy.subarray(offset, offset + length));
  return sealedFile('pando-code', [head, ...bytes]);
}

/** Gives back what `mapCode` has mapped, or the guest has entered: nothing is decoded. */
export function discardIndex(memory: GuestMemory): void {
  for (const { offset, length } of indexPieces(memory)) memory.discardControl(offset, length);
}

/**
 * Maps decoded code into the control area of a machine that has none and whose RAM is as it was captured. A file of another
 * core or another size of RAM is left alone, and what the host does not map is decoded again.
 */
export function mapCode(memory: GuestMemory, file: SharedFile): void {
  const { fd, size } = file;
  const head = file.head(HEAD_BYTES);
  if (head.length < HEAD_BYTES) return;
  const end = head.readUInt32LE(BLOCKS_END);
  const of = head.readUInt32LE(GUEST_PAGES) === memory.ramBytes / PAGE_SIZE;
  if (!of || !head.subarray(CORE).equals(coreDigest())) return;
  if (end <= L.BLOCK_ARENA || end > L.BLOCK_ARENA_END) return;
  const all = pieces(memory, end);
  let at = PAGE_SIZE;
  if (all.reduce((sum, { length }) => sum + length, at) !== size) return;
  for (const { offset, length } of all) {
    if (!memory.mapControl(offset, length, fd, at)) {
      for (const piece of all) memory.discardControl(piece.offset, piece.length);
      return;
    }
    at += length;
  }
  new DataView(memory.buffer).setUint32(L.VCPU_BLOCKS + L.ARENA_NEXT, end, true);
}
