/** What of a vCPU block (accel/wasm/layout.ts) is state of the processor, and the names of its fields. */
import * as L from '../accel/wasm/layout.js';

const REGISTERS = 'rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15 rip'.split(' ');
const SEGMENTS = 'flat es cs ss ds fs gs tr ldtr'.split(' ');

/** Ranges of the vCPU block that are compared. */
const STATE: readonly (readonly [from: number, to: number])[] = [
  [L.GPR, L.RIP + 8],
  [L.SEG_BASE, L.IDT_LIMIT + 4],
  [L.CR0, L.CPL + 4],
  [L.SHADOW, L.SHADOW + 4],
  [L.MSR_STAR, L.MSR_KVM_SYSTEM_TIME + 8],
  [L.XMM, L.MXCSR + 4],
];

interface Field {
  readonly name: string;
  readonly at: number;
  readonly bytes: number;
}

function numbered(
  names: readonly string[],
  suffix: string,
  at: number,
  bytes: number,
  stride = bytes,
): Field[] {
  return names.map((name, index) => ({ name: `${name}${suffix}`, at: at + index * stride, bytes }));
}

const range = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}${index}`);

const FIELDS: readonly Field[] = [
  ...numbered(REGISTERS, '', L.GPR, 8),
  ...numbered(SEGMENTS, ' base', L.SEG_BASE, 8),
  ...numbered(SEGMENTS, ' limit', L.SEG_LIMIT, 4),
  ...numbered(SEGMENTS, ' attributes', L.SEG_ATTR, 4),
  ...numbered(SEGMENTS, ' selector', L.SEG_SEL, 4),
  ...numbered(['gdt', 'idt'], ' base', L.GDT_BASE, 8),
  ...numbered(['gdt', 'idt'], ' limit', L.GDT_LIMIT, 4),
  ...numbered(['cr0', 'cr2', 'cr3', 'cr4', 'efer'], '', L.CR0, 8),
  ...numbered(['dr0', 'dr1', 'dr2', 'dr3', 'dr6', 'dr7'], '', L.DR0, 8),
  { name: 'cpl', at: L.CPL, bytes: 4 },
  { name: 'interrupt shadow', at: L.SHADOW, bytes: 4 },
  ...numbered(['star', 'lstar', 'cstar', 'sfmask', 'kernel gs base'], '', L.MSR_STAR, 8),
  ...numbered(['sysenter cs', 'sysenter esp', 'sysenter eip'], '', L.MSR_SYSENTER_CS, 8),
  ...numbered(['tsc aux', 'pat', 'misc enable', 'mtrr def type'], '', L.MSR_TSC_AUX, 8),
  ...numbered(['kvm wall clock', 'kvm system time'], '', L.MSR_KVM_WALL_CLOCK, 8),
  ...numbered(range('xmm', 16), '', L.XMM, 16),
  ...numbered(range('fpr', 8), '', L.FPR, 16),
  ...numbered(['fcw', 'fsw', 'ftop', 'ftag'], '', L.FPU_CW, 4),
  ...numbered(['fip', 'fdp'], '', L.FPU_FIP, 8),
  ...numbered(['fop', 'fcs', 'fds', 'mxcsr'], '', L.FPU_FOP, 4),
];

/** Bytes, most significant first. */
function hex(bytes: Uint8Array): string {
  const text = Buffer.from(bytes).reverse().toString('hex').replace(/^0+/, '');
  return `0x${text === '' ? '0' : text}`;
}

/** The state of a guest's vCPU 0 inside of its memory. */
export class ProcessorState {
  readonly #block: Buffer;

  constructor(memory: SharedArrayBuffer) {
    this.#block = Buffer.from(memory, L.VCPU_BLOCKS, L.VCPU_SIZE);
  }

  /** Instructions retired. */
  get count(): bigint {
    return this.#block.readBigUInt64LE(L.ICOUNT);
  }

  equals(other: ProcessorState): boolean {
    return STATE.every(([from, to]) => this.#block.compare(other.#block, from, to, from, to) === 0);
  }

  /** What differs, as text; empty when nothing does. RFLAGS is not among it: it is computed when read. */
  differences(other: ProcessorState): string[] {
    if (this.equals(other)) return [];
    return FIELDS.flatMap(({ name, at, bytes }) => {
      const mine = this.#block.subarray(at, at + bytes);
      const its = other.#block.subarray(at, at + bytes);
      return mine.equals(its) ? [] : [`${name}: ${hex(mine)} and ${hex(its)}`];
    });
  }
}
