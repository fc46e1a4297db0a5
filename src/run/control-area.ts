/**
 * What a VM's memory holds before guest RAM, for accounting (accel/wasm/layout.ts, accel/kvm/layout.ts).
 */
import { CONTROL_BYTES } from '../accel/kvm/layout.js';
import * as L from '../accel/wasm/layout.js';
import type { AcceleratorName } from './types.js';

/** The area before guest physical address 0. */
export interface ControlArea {
  readonly bytes: number;
  /** Ranges, in bytes from the area's start, in order and without gaps. */
  readonly parts: readonly {
    readonly name: string;
    readonly start: number;
    readonly length: number;
  }[];
}

const WASM: ControlArea = {
  bytes: L.GUEST_BASE,
  parts: [
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
    { name: 'decoded blocks', start: L.BLOCK_ARENA, length: L.CONTEXT_ARENA - L.BLOCK_ARENA },
    {
      name: 'contexts of translations',
      start: L.CONTEXT_ARENA,
      length: L.GUEST_BASE - L.CONTEXT_ARENA,
    },
  ],
};

const KVM: ControlArea = {
  bytes: CONTROL_BYTES,
  parts: [{ name: 'devices and control', start: 0, length: CONTROL_BYTES }],
};

/** How an accelerator lays out what is its own. */
export function controlArea(accelerator: AcceleratorName): ControlArea {
  return accelerator === 'kvm' ? KVM : WASM;
}
