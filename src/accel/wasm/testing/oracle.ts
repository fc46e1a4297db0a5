/**
 * The host's own processor as the reference: runs one instruction of the arena with a given register
 * file, and hands back what became of it. A few lines of machine code load and store the registers
 * (Intel SDM vol. 2); a signal handler turns exceptions into results (signal(7), the x86-64 mcontext of
 * the Linux kernel's uapi).
 */
import { createRequire } from 'node:module';
import {
  ARENA,
  ARENA_SIZE,
  type Bits,
  CODE,
  HOST_CODE,
  HOST_SIGNAL_STACK,
  HOST_SIGNAL_STACK_SIZE,
  HOST_STATE,
  initialFx,
  narrowState,
  type Processor,
  SLOT_COUNT,
  SLOT_SIZE,
  STATE_FLAGS,
  STATE_FX,
  STATE_RIP,
  STATE_SIZE,
  WINDOW,
  WINDOW_SIZE,
} from './arena.js';

type Koffi = typeof import('koffi');

const PROT_READ_WRITE_EXEC = 7;
const MAP_PRIVATE_ANONYMOUS_FIXED_NOREPLACE = 0x10_0022;

const SIGILL = 4;
const SIGBUS = 7;
const SIGFPE = 8;
const SIGSEGV = 11;
const SIGTRAP = 5;
const SA_SIGINFO_ONSTACK = 0x0800_0004;
/** glibc's `struct sigaction`: handler, 128 bytes of mask, flags, restorer. */
const SIGACTION_SIZE = 152;
const SIGACTION_FLAGS = 136;

/* mcontext in `ucontext_t`: byte offsets of the saved RSP, RIP, CS, trap number. */
const CONTEXT_RSP = 160;
const CONTEXT_RIP = 168;
const CONTEXT_CS = 184;
const CONTEXT_TRAP = 200;

/* The state block: input, output, and what belongs to the host. */
const IN = HOST_STATE;
const OUT = HOST_STATE + 0x400;
const SAVED_RSP = HOST_STATE + 0x800;
const SAVED_MXCSR = HOST_STATE + 0x808;
const SAVED_CW = HOST_STATE + 0x810;
/** u32: vector + 1 after an exception. */
const TRAP = HOST_STATE + 0x818;
/** u64: where the signal handler sends the interrupted code. */
const RESUME = HOST_STATE + 0x820;
/** Far pointer to the 32-bit part of the entry: offset, selector. */
const FAR_ENTRY = HOST_STATE + 0x828;
/** u64: RSP at an exception. */
const TRAP_RSP = HOST_STATE + 0x830;
/** End of a few words of stack: for loading EFLAGS in 32-bit code, and after an exception. */
const SMALL_STACK = HOST_STATE + 0xa00;

/* Selectors of a process (the kernel's asm/segment.h). */
const USER32_CS = 0x23;
const USER_DS = 0x2b;
const USER_CS = 0x33;

/* Routines. */
const ENTER = HOST_CODE;
const LEAVE = HOST_CODE + 0x400;
const HANDLER = HOST_CODE + 0x800;
const ENTER_32 = HOST_CODE + 0xc00;
const LOAD_32 = HOST_CODE + 0x1000;
const LEAVE_32 = HOST_CODE + 0x1400;
const LEAVE_TRAPPED = HOST_CODE + 0x1800;
const LEAVE_32_TRAPPED = HOST_CODE + 0x1c00;

const VECTOR_UD = 6;
/**
 * A hypervisor with shadow page tables emulates an instruction now and then, and gives #UD for one that its
 * emulator does not know. The processor's own #UD comes each time, and changes nothing.
 */
const UD_TRIES = 4;

const RAX = 0;
const RSP = 4;

/** Emits the few instructions that the oracle's own code needs. */
class Assembler {
  readonly bytes: number[] = [];
  constructor(private readonly base: number) {}
  get here(): number {
    return this.base + this.bytes.length;
  }
  emit(...bytes: number[]): this {
    this.bytes.push(...bytes);
    return this;
  }
  dword(value: number): this {
    return this.emit(value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >> 24) & 255);
  }
  /** An instruction with an absolute 32-bit address; `reg` is ModRM.reg. */
  absolute(opcode: readonly number[], reg: number, address: number): this {
    return this.emit(...opcode, ((reg & 7) << 3) | 4, 0x25).dword(address);
  }
  /** MOV between a 64-bit register and an absolute address. */
  move(opcode: 0x89 | 0x8b, register: number, address: number): this {
    return this.absolute([register > 7 ? 0x4c : 0x48, opcode], register, address);
  }
  jump(target: number): this {
    this.emit(0xe9);
    return this.dword(target - (this.here + 4));
  }
}

const CALLEE_SAVED = [[0x53], [0x55], [0x41, 0x54], [0x41, 0x55], [0x41, 0x56], [0x41, 0x57]];

function saveHost(code: Assembler): Assembler {
  for (const push of CALLEE_SAVED) code.emit(...push);
  code.move(0x89, RSP, SAVED_RSP);
  code.absolute([0x0f, 0xae], 3, SAVED_MXCSR);
  code.absolute([0xd9], 7, SAVED_CW);
  return code.absolute([0x0f, 0xae], 1, IN + STATE_FX);
}

function enterCode(base: number): number[] {
  const code = saveHost(new Assembler(base));
  code.absolute([0xff], 6, IN + STATE_FLAGS).emit(0x9d);
  for (let register = 0; register < 16; register++) code.move(0x8b, register, IN + register * 8);
  return code.absolute([0xff], 4, IN + STATE_RIP).bytes;
}

/** Loads DS and ES, which 64-bit code does not need, and goes on in 32-bit code. */
function enterCode32(base: number): number[] {
  const code = saveHost(new Assembler(base));
  code.emit(0xb8).dword(USER_DS).emit(0x8e, 0xd8, 0x8e, 0xc0);
  return code.absolute([0xff], 5, FAR_ENTRY).bytes;
}

/** 32-bit code: loads flags and registers. The address form means the same in both widths. */
function loadCode32(base: number): number[] {
  const code = new Assembler(base);
  code.emit(0xbc).dword(SMALL_STACK);
  code.absolute([0xff], 6, IN + STATE_FLAGS).emit(0x9d);
  for (let register = 0; register < 8; register++)
    code.absolute([0x8b], register, IN + register * 8);
  return code.absolute([0xff], 4, IN + STATE_RIP).bytes;
}

/** With `segments`, DS and ES become null again; with `trapped`, the handler has changed RSP. */
function leaveCode(base: number, segments: boolean, trapped: boolean): number[] {
  const code = new Assembler(base);
  for (let register = 0; register < 16; register++) code.move(0x89, register, OUT + register * 8);
  if (trapped) code.move(0x8b, RAX, TRAP_RSP).move(0x89, RAX, OUT + RSP * 8);
  code.move(0x8b, RSP, SAVED_RSP);
  code
    .emit(0x9c)
    .absolute([0x8f], 0, OUT + STATE_FLAGS)
    .emit(0xfc);
  if (segments) code.emit(0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0);
  code.absolute([0x0f, 0xae], 0, OUT + STATE_FX);
  code.emit(0xdb, 0xe3).absolute([0xd9], 5, SAVED_CW).absolute([0x0f, 0xae], 2, SAVED_MXCSR);
  for (const push of [...CALLEE_SAVED].reverse())
    code.emit(...push.map((byte, index) => (index === push.length - 1 ? byte + 8 : byte)));
  return code.emit(0xc3).bytes;
}

/**
 * Records the exception and lets the interrupted code go on in 64-bit code at RESUME. A return to a
 * non-canonical RSP faults on some hosts, so the code goes on with another.
 */
function handlerCode(base: number): number[] {
  const code = new Assembler(base);
  code.emit(0x48, 0x8b, 0x82).dword(CONTEXT_RIP);
  code.move(0x89, 0, OUT + STATE_RIP);
  code.emit(0x8b, 0x82).dword(CONTEXT_TRAP);
  code.emit(0xff, 0xc0).absolute([0x89], 0, TRAP);
  code.move(0x8b, 0, RESUME).emit(0x48, 0x89, 0x82).dword(CONTEXT_RIP);
  code.emit(0x66, 0xc7, 0x82).dword(CONTEXT_CS).emit(USER_CS, 0);
  code.emit(0x48, 0x8b, 0x82).dword(CONTEXT_RSP).move(0x89, RAX, TRAP_RSP);
  code.emit(0x48, 0xc7, 0x82).dword(CONTEXT_RSP).dword(SMALL_STACK);
  return code.emit(0xc3).bytes;
}

/** The host's processor. One of them a process: it owns a fixed range of addresses. */
export class Oracle implements Processor {
  bits: Bits = 64;
  readonly code: Uint8Array;
  readonly #window: Uint8Array;
  readonly #in: Uint8Array;
  readonly #out: Uint8Array;
  readonly #outGeneral: Uint8Array;
  readonly #trap: Uint32Array;
  readonly #words: DataView;
  readonly #enter: Readonly<Record<Bits, () => void>>;
  readonly #sigaction: (signal: number, action: Uint8Array, old: Uint8Array | null) => number;
  readonly #ours = new Uint8Array(SIGACTION_SIZE);
  readonly #theirs = new Uint8Array(SIGACTION_SIZE);
  readonly #memory: Uint8Array;

  constructor() {
    const koffi = createRequire(import.meta.url)('koffi') as Koffi;
    const libc = koffi.load(null);
    const mmap = libc.func('void *mmap(uintptr_t, size_t, int, int, int, int64_t)');
    const got: bigint = mmap(
      ARENA,
      ARENA_SIZE,
      PROT_READ_WRITE_EXEC,
      MAP_PRIVATE_ANONYMOUS_FIXED_NOREPLACE,
      -1,
      0,
    );
    if (got !== BigInt(ARENA)) throw new Error(`mmap at 0x${ARENA.toString(16)} gave ${got}`);
    this.#memory = new Uint8Array(koffi.view(got, ARENA_SIZE));
    this.code = this.#view(CODE, SLOT_COUNT * SLOT_SIZE);
    this.#window = this.#view(WINDOW, WINDOW_SIZE);
    this.#in = this.#view(IN, STATE_SIZE);
    this.#out = this.#view(OUT, STATE_SIZE);
    this.#outGeneral = this.#out.subarray(0, STATE_FX);
    this.#in.set(initialFx(), STATE_FX);
    this.#trap = new Uint32Array(this.#memory.buffer, TRAP - ARENA, 1);
    const routine = (address: number, code: readonly number[]): void =>
      this.#view(address, 0x400).set(code);
    routine(ENTER, enterCode(ENTER));
    routine(LEAVE, leaveCode(LEAVE, false, false));
    routine(LEAVE_TRAPPED, leaveCode(LEAVE_TRAPPED, false, true));
    routine(HANDLER, handlerCode(HANDLER));
    routine(ENTER_32, enterCode32(ENTER_32));
    routine(LOAD_32, loadCode32(LOAD_32));
    routine(LEAVE_32, leaveCode(LEAVE_32, true, false));
    routine(LEAVE_32_TRAPPED, leaveCode(LEAVE_32_TRAPPED, true, true));
    this.#words = new DataView(this.#memory.buffer);
    this.#words.setUint32(FAR_ENTRY - ARENA, LOAD_32, true);
    this.#words.setUint16(FAR_ENTRY - ARENA + 4, USER32_CS, true);
    const type = koffi.proto('OracleEntry', 'void', []);
    const entry = (address: number) => koffi.decode(BigInt(address), type) as () => void;
    this.#enter = { 64: entry(ENTER), 32: entry(ENTER_32) };
    this.#sigaction = libc.func('int sigaction(int, void *, void *)');
    const stack = new DataView(new ArrayBuffer(24));
    stack.setBigUint64(0, BigInt(HOST_SIGNAL_STACK), true);
    stack.setBigUint64(16, BigInt(HOST_SIGNAL_STACK_SIZE), true);
    const sigaltstack = libc.func('int sigaltstack(void *, void *)');
    if (sigaltstack(new Uint8Array(stack.buffer), null) !== 0) throw new Error('sigaltstack');
    const action = new DataView(this.#ours.buffer);
    action.setBigUint64(0, BigInt(HANDLER), true);
    action.setUint32(SIGACTION_FLAGS, SA_SIGINFO_ONSTACK, true);
    for (const signal of [SIGILL, SIGTRAP, SIGBUS, SIGFPE])
      this.#sigaction(signal, this.#ours, null);
  }

  /** Runs `body` with SIGSEGV handled here; V8 needs its own handler the rest of the time. */
  during<T>(body: () => T): T {
    this.#sigaction(SIGSEGV, this.#ours, this.#theirs);
    try {
      return body();
    } finally {
      this.#sigaction(SIGSEGV, this.#theirs, null);
    }
  }

  /**
   * Whether a process of this host can execute 32-bit code: a hypervisor may leave the code segment for
   * it out.
   */
  runs32(): boolean {
    const { bits } = this;
    this.bits = 32;
    const state = new Uint8Array(STATE_FX);
    const words = new DataView(state.buffer);
    words.setUint32(STATE_RIP, CODE, true);
    words.setUint32(STATE_FLAGS, 2, true);
    this.land(CODE);
    const trap = this.during(() => this.execute(state, new Uint8Array(STATE_FX)));
    this.bits = bits;
    return trap < 0;
  }

  #view(address: number, length: number): Uint8Array {
    return this.#memory.subarray(address - ARENA, address - ARENA + length);
  }

  readWindow(into: Uint8Array): void {
    into.set(this.#window);
  }

  writeWindow(from: Uint8Array): void {
    this.#window.set(from);
  }

  land(address: number): void {
    const pad = new Assembler(address);
    pad.absolute([0xc7], 0, OUT + STATE_RIP).dword(address);
    if (this.bits === 64) pad.jump(LEAVE);
    else pad.emit(0xea).dword(LEAVE_32).emit(USER_CS, 0);
    this.#memory.set(pad.bytes, address - ARENA);
  }

  execute(before: Uint8Array, after: Uint8Array): number {
    this.#words.setUint32(
      RESUME - ARENA,
      this.bits === 64 ? LEAVE_TRAPPED : LEAVE_32_TRAPPED,
      true,
    );
    let trap: number;
    let tries = 0;
    do {
      this.#in.set(before);
      this.#trap[0] = 0;
      this.#enter[this.bits]();
      trap = (this.#trap[0] ?? 0) - 1;
      tries += 1;
    } while (trap === VECTOR_UD && tries < UD_TRIES);
    after.set(after.length < STATE_SIZE ? this.#outGeneral : this.#out);
    if (this.bits === 32) narrowState(after);
    return trap;
  }
}
