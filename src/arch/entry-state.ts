/**
 * The processor's state at a PVH entry, as data for any accelerator.
 *
 * Source: Xen "x86/HVM direct boot ABI": EBX, CR0, CR4, CS, DS, ES, SS, TR, EFLAGS. Segment fields are
 * those of the descriptor caches (Intel SDM vol. 3A, 3.4.5 segment descriptors).
 */
import { ENTRY_GDT_ADDRESS, ENTRY_TSS_ADDRESS, START_INFO_ADDRESS } from './layout.js';

/** A segment register with its descriptor cache. */
export interface SegmentState {
  readonly selector: number;
  readonly base: number;
  /** Limit in bytes, inclusive, granularity applied. */
  readonly limit: number;
  /** Type field of the descriptor, 0–15. */
  readonly type: number;
  /** Descriptor type: 1 code or data, 0 system. */
  readonly s: 0 | 1;
  readonly dpl: number;
  readonly present: 0 | 1;
  readonly avl: 0 | 1;
  readonly l: 0 | 1;
  readonly db: 0 | 1;
  readonly g: 0 | 1;
}

/** GDTR or IDTR. */
export interface TableRegister {
  readonly base: number;
  readonly limit: number;
}

/** Everything that differs from the processor's reset state is here; the rest is zero. */
export interface EntryState {
  readonly eip: number;
  readonly ebx: number;
  readonly eflags: number;
  readonly cr0: number;
  readonly cr4: number;
  readonly efer: number;
  readonly cs: SegmentState;
  readonly ds: SegmentState;
  readonly es: SegmentState;
  readonly ss: SegmentState;
  readonly fs: SegmentState;
  readonly gs: SegmentState;
  readonly tr: SegmentState;
  readonly ldtr: SegmentState;
  readonly gdtr: TableRegister;
  readonly idtr: TableRegister;
}

/** A 32-bit TSS without I/O permission bitmap. */
export const ENTRY_TSS_BYTES = 0x68;

const CODE_SELECTOR = 0x08;
const DATA_SELECTOR = 0x10;
const TSS_SELECTOR = 0x18;

const CR0_PE = 0x01;
const CR0_ET = 0x10;
const EFLAGS_FIXED = 0x02;

// Descriptor types
const TYPE_DATA_RW_ACCESSED = 0x3;
const TYPE_CODE_ER_ACCESSED = 0xb;
const TYPE_TSS32_BUSY = 0xb;
const TYPE_LDT = 0x2;

const FLAT = {
  base: 0,
  limit: 0xffffffff,
  s: 1,
  dpl: 0,
  present: 1,
  avl: 0,
  l: 0,
  db: 1,
  g: 1,
} as const;
const CODE: SegmentState = { ...FLAT, selector: CODE_SELECTOR, type: TYPE_CODE_ER_ACCESSED };
const DATA: SegmentState = { ...FLAT, selector: DATA_SELECTOR, type: TYPE_DATA_RW_ACCESSED };
const TSS: SegmentState = {
  selector: TSS_SELECTOR,
  base: ENTRY_TSS_ADDRESS,
  limit: ENTRY_TSS_BYTES - 1,
  type: TYPE_TSS32_BUSY,
  s: 0,
  dpl: 0,
  present: 1,
  avl: 0,
  l: 0,
  db: 0,
  g: 0,
};
const NO_LDT: SegmentState = { ...TSS, selector: 0, base: 0, limit: 0, type: TYPE_LDT, present: 0 };

/** An 8-byte descriptor from the fields of a cache. */
function descriptor(segment: SegmentState): bigint {
  const limit = BigInt(segment.g === 1 ? Math.floor(segment.limit / 4096) : segment.limit);
  const base = BigInt(segment.base);
  const access = segment.type | (segment.s << 4) | (segment.dpl << 5) | (segment.present << 7);
  const flags = segment.avl | (segment.l << 1) | (segment.db << 2) | (segment.g << 3);
  return (
    (limit & 0xffffn) |
    ((base & 0xffffffn) << 16n) |
    (BigInt(access) << 40n) |
    ((limit >> 16n) << 48n) |
    (BigInt(flags) << 52n) |
    ((base >> 24n) << 56n)
  );
}

/** The GDT that the entry's selectors refer to: null, code, data, TSS. */
export function entryGdt(): Uint8Array {
  const bytes = new Uint8Array(32);
  const view = new DataView(bytes.buffer);
  for (const segment of [CODE, DATA, TSS]) {
    view.setBigUint64(segment.selector, descriptor(segment), true);
  }
  return bytes;
}

/**
 * The state in which the bootstrap processor starts.
 * @param entry 32-bit physical address of the kernel's PVH entry
 * @param startInfo physical address of hvm_start_info
 */
export function pvhEntryState(entry: number, startInfo: number = START_INFO_ADDRESS): EntryState {
  return {
    eip: entry,
    ebx: startInfo,
    eflags: EFLAGS_FIXED,
    cr0: CR0_PE | CR0_ET,
    cr4: 0,
    efer: 0,
    cs: CODE,
    ds: DATA,
    es: DATA,
    ss: DATA,
    fs: DATA,
    gs: DATA,
    tr: TSS,
    ldtr: NO_LDT,
    gdtr: { base: ENTRY_GDT_ADDRESS, limit: 31 },
    idtr: { base: 0, limit: 0 },
  };
}
