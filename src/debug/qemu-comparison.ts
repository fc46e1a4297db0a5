/**
 * `pando debug lockstep --against qemu`: the interpreter beside QEMU's own emulation, instruction by
 * instruction from the kernel's PVH entry on.
 *
 * Both begin with QEMU's memory and registers, as QEMU's loader has prepared them. No interrupt reaches
 * either: QEMU's stepping holds them off, and nothing delivers them here. What an instruction gets from
 * the machine is QEMU's on both sides: after CPUID, RDTSC, RDTSCP, RDPMC and RDMSR, and after whatever
 * read a port or device memory, the general registers are copied from QEMU. So are flags that the manual
 * leaves undefined.
 */
import { GENERAL_REGISTERS, SEGMENT_REGISTERS } from '../arch/vcpu-state.js';
import { codeText, disassemble, undefinedFlags } from './disassembly.js';
import { LockstepGuest, type LockstepMachine } from './lockstep-guest.js';
import { QemuStepper, type SteppedState } from './qemu-stepper.js';

/** Bytes that an instruction may have (Intel SDM vol. 2, 2.3.11). */
const LONGEST = 15;
const PAGE = 4096;
const CHUNK = 1 << 20;
/** Instructions shown before the one that differs. */
const SHOWN = 8;
/** Iterations of a repeated instruction after which something is wrong. */
const ITERATIONS = 1 << 28;
/** Steps of QEMU's that may do nothing. */
const IDLE_STEPS = 3;
/** CF PF AF ZF SF OF. */
const ARITHMETIC = 0x8d5n;
const RESUME_FLAG = 0x10000n;

const LEGACY_PREFIXES = new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]);

/** What has to be known of an instruction before it runs. */
interface Kind {
  /** A string instruction with a repeat prefix. */
  readonly repeated: boolean;
  /** Its result is the machine's. */
  readonly foreign: boolean;
  readonly halt: boolean;
}

export function kindOf(code: Uint8Array, bits: number): Kind {
  let at = 0;
  let repeat = false;
  while (LEGACY_PREFIXES.has(code[at] ?? 0)) {
    if (code[at] === 0xf2 || code[at] === 0xf3) repeat = true;
    at++;
  }
  if (bits === 64 && ((code[at] ?? 0) & 0xf0) === 0x40) at++;
  const opcode = code[at] ?? 0;
  const second = code[at + 1] ?? 0;
  const string =
    (opcode >= 0xa4 && opcode <= 0xa7) ||
    (opcode >= 0xaa && opcode <= 0xaf) ||
    (opcode >= 0x6c && opcode <= 0x6f);
  const foreign =
    opcode === 0x0f &&
    ([0xa2, 0x31, 0x32, 0x33].includes(second) || (second === 0x01 && code[at + 2] === 0xf9));
  return { repeated: repeat && string, foreign, halt: opcode === 0xf4 };
}

type Compared = Omit<SteppedState, 'cr2'>;

function differences(mine: Compared, its: Compared): string[] {
  const pairs: (readonly [name: string, mine: bigint, its: bigint])[] = [
    ['rip', mine.rip, its.rip],
    ...GENERAL_REGISTERS.map(
      (name, index) => [name, mine.gpr[index] ?? 0n, its.gpr[index] ?? 0n] as const,
    ),
    ['rflags', mine.rflags & ~RESUME_FLAG, its.rflags & ~RESUME_FLAG],
    ...SEGMENT_REGISTERS.map(
      (name, index) =>
        [name, BigInt(mine.segments[index] ?? 0), BigInt(its.segments[index] ?? 0)] as const,
    ),
    ['cr0', mine.cr0, its.cr0],
    ['cr3', mine.cr3, its.cr3],
    ['cr4', mine.cr4, its.cr4],
    ['efer', mine.efer, its.efer],
  ];
  return pairs
    .filter(([, one, other]) => one !== other)
    .map(([name, one, other]) => `${name}: 0x${one.toString(16)} and 0x${other.toString(16)}`);
}

/** Takes over QEMU's memory and registers. */
async function takeOver(guest: LockstepGuest, qemu: QemuStepper, memory: number): Promise<void> {
  const chunk = Buffer.alloc(CHUNK);
  for (let at = 0; at < memory; at += CHUNK) {
    const size = Math.min(CHUNK, memory - at);
    qemu.readRam(at, chunk.subarray(0, size));
    const mine = guest.memory.bytes(at, size);
    for (let page = 0; page < size; page += PAGE) {
      const its = chunk.subarray(page, page + PAGE);
      if (its.compare(mine, page, page + PAGE) !== 0) mine.set(its, page);
    }
  }
  guest.adopt(await qemu.state());
}

/** Guest physical addresses of the pages that differ. */
function differentPages(guest: LockstepGuest, qemu: QemuStepper, memory: number): number[] {
  const chunk = Buffer.alloc(CHUNK);
  const found: number[] = [];
  for (let at = 0; at < memory; at += CHUNK) {
    const size = Math.min(CHUNK, memory - at);
    qemu.readRam(at, chunk.subarray(0, size));
    const mine = guest.memory.bytes(at, size);
    for (let page = 0; page < size; page += PAGE) {
      if (chunk.compare(mine, page, page + PAGE, page, page + PAGE) !== 0) found.push(at + page);
    }
  }
  return found;
}

export interface QemuReport {
  /** Instructions compared; a repeated one counts once. */
  readonly instructions: number;
  /** Of them, those after which registers were taken from QEMU. */
  readonly copied: number;
  readonly end: 'limit' | 'halt' | 'difference';
  /** What differs, Pando first. */
  readonly texts: readonly string[];
  /** The last instructions before it, as text. */
  readonly code: readonly string[];
  /** Pages of RAM that differ at the end. */
  readonly pages: readonly number[];
}

export interface QemuOptions extends LockstepMachine {
  readonly kernel: string;
  readonly initrd: string | undefined;
  readonly entry: number;
  readonly limit: number;
  /** Called after each instruction. */
  readonly progress: (instructions: number, guest: LockstepGuest) => void;
}

interface Executed {
  readonly rip: bigint;
  readonly bits: number;
  readonly code: Uint8Array;
}

class Comparison {
  readonly #guest: LockstepGuest;
  readonly #qemu: QemuStepper;
  readonly #last: Executed[] = [];
  copied = 0;

  constructor(guest: LockstepGuest, qemu: QemuStepper) {
    this.#guest = guest;
    this.#qemu = qemu;
  }

  /** The instruction at RIP, from QEMU's memory: it may be in two pages. */
  #fetch(rip: bigint): Uint8Array {
    const code = this.#guest.code(rip, LONGEST);
    return code !== undefined && code.length === LONGEST ? code : new Uint8Array();
  }

  /** One instruction on both sides; gives what differs then. */
  async step(): Promise<{ readonly halt: boolean; readonly texts: string[] }> {
    const guest = this.#guest;
    const { rip } = guest.state;
    const { bits } = guest;
    let code = this.#fetch(rip);
    if (code.length === 0) code = await this.#qemu.memory(rip, LONGEST);
    this.#last.push({ rip, bits, code });
    if (this.#last.length > SHOWN) this.#last.shift();
    const { repeated, foreign, halt } = kindOf(code, bits);
    if (halt) return { halt, texts: [] };
    const reads = guest.deviceReads;
    guest.step();
    if (repeated) {
      for (let turn = 0; turn < ITERATIONS && guest.state.rip === rip; turn++) guest.step();
      await this.#qemu.runTo(guest.state.rip);
    } else await this.#qemu.step();
    let its = await this.#qemu.state();
    // A step of QEMU's may end before the instruction, when it has something else to do first.
    for (let turn = 0; turn < IDLE_STEPS && its.rip === rip && guest.state.rip !== rip; turn++) {
      await this.#qemu.step();
      its = await this.#qemu.state();
    }
    if ((foreign || guest.deviceReads !== reads) && its.rip === guest.state.rip) {
      guest.adopt({ gpr: its.gpr });
      this.copied++;
    }
    const mine = guest.state;
    if (((mine.rflags ^ its.rflags) & ARITHMETIC) !== 0n) {
      const mask = BigInt(await undefinedFlags(code, bits));
      guest.adopt({ rflags: (mine.rflags & ~mask) | (its.rflags & mask) });
    }
    return { halt: false, texts: differences(guest.state, its) };
  }

  async code(): Promise<string[]> {
    const lines: string[] = [];
    for (const { rip, bits, code } of this.#last) {
      lines.push(...codeText(await disassemble(code, rip, bits, 1)));
    }
    return lines;
  }
}

/** Runs the comparison. */
export async function compareWithQemu(options: QemuOptions): Promise<QemuReport> {
  const { kernel, initrd, commandLine, memory, entry, limit, progress } = options;
  const qemu = await QemuStepper.start({ kernel, initrd, commandLine, memory }, entry);
  const guest = LockstepGuest.interpreted(options);
  try {
    await takeOver(guest, qemu, memory);
    const comparison = new Comparison(guest, qemu);
    let texts = differences(guest.state, await qemu.state());
    let end: QemuReport['end'] = texts.length > 0 ? 'difference' : 'limit';
    let instructions = 0;
    while (end === 'limit' && instructions < limit) {
      const step = await comparison.step();
      instructions++;
      texts = step.texts;
      if (step.halt) end = 'halt';
      if (texts.length > 0) end = 'difference';
      progress(instructions, guest);
    }
    return {
      instructions,
      copied: comparison.copied,
      end,
      texts,
      code: end === 'limit' ? [] : await comparison.code(),
      pages: differentPages(guest, qemu, memory),
    };
  } finally {
    await qemu.close();
    guest.memory.release();
  }
}
