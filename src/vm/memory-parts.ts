/** What a VM's linear memory holds before guest RAM (accel/wasm/layout.ts), for accounting. */
import * as L from '../accel/wasm/layout.js';

/** Bytes before guest physical address 0. */
export const CONTROL_BYTES = L.GUEST_BASE;

/** Ranges of that area, in bytes from its start, in order and without gaps. */
export const CONTROL_PARTS: readonly {
  readonly name: string;
  readonly start: number;
  readonly length: number;
}[] = [
  { name: 'core constants, decoder and CPUID tables', start: 0, length: L.VCPU_BLOCKS },
  {
    name: 'vCPU blocks with their TLBs',
    start: L.VCPU_BLOCKS,
    length: L.BOARD_STATE_AREA - L.VCPU_BLOCKS,
  },
  {
    name: 'devices and control',
    start: L.BOARD_STATE_AREA,
    length: L.BLOCK_HASH - L.BOARD_STATE_AREA,
  },
  { name: 'block hash table', start: L.BLOCK_HASH, length: L.PAGE_CODE - L.BLOCK_HASH },
  { name: 'per-page code map', start: L.PAGE_CODE, length: L.BLOCK_ARENA - L.PAGE_CODE },
  { name: 'decoded blocks', start: L.BLOCK_ARENA, length: L.GUEST_BASE - L.BLOCK_ARENA },
];
