/**
 * `qemu-system-x86_64 -accel tcg` stopped at a kernel's PVH entry and stepped through its gdb port. Its
 * RAM is a file, so that all of it can be read at any time.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PandoError } from '../error.js';
import { GdbClient } from './gdb-client.js';
import { qemuVersion } from './qemu-peer.js';

const PROGRAM = 'qemu-system-x86_64';

/** Registers of a processor, as QEMU's description i386-64bit.xml lists them. */
export interface SteppedState {
  /** In encoding order: RAX RCX RDX RBX RSP RBP RSI RDI R8 … R15. */
  readonly gpr: readonly bigint[];
  readonly rip: bigint;
  readonly rflags: bigint;
  /** Selectors: ES CS SS DS FS GS. */
  readonly segments: readonly number[];
  readonly cr0: bigint;
  readonly cr2: bigint;
  readonly cr3: bigint;
  readonly cr4: bigint;
  readonly efer: bigint;
}

/** gdb's order of the first eight registers, as numbers of the encoding. */
const GDB_ORDER = [0, 3, 1, 2, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15];
const RIP_AT = 16 * 8;
const FLAGS_AT = RIP_AT + 8;
const SEGMENTS_AT = FLAGS_AT + 4;
/** FS base, GS base and KERNEL_GS_BASE come between. */
const CONTROL_AT = SEGMENTS_AT + 6 * 4 + 3 * 8;

export function steppedState(registers: Buffer): SteppedState {
  if (registers.length < CONTROL_AT + 48) {
    const message = `the gdb server sends ${registers.length} bytes of registers`;
    throw new PandoError('GDB_REGISTERS_UNKNOWN', message, { remedy: 'use QEMU 5 or newer' });
  }
  const word = (at: number): bigint => registers.readBigUInt64LE(at);
  const gpr = new Array<bigint>(16).fill(0n);
  GDB_ORDER.forEach((register, index) => {
    gpr[register] = word(index * 8);
  });
  const [cs, ss, ds, es, fs, gs] = [0, 1, 2, 3, 4, 5].map((index) =>
    registers.readUInt32LE(SEGMENTS_AT + index * 4),
  ) as [number, number, number, number, number, number];
  return {
    gpr,
    rip: word(RIP_AT),
    rflags: BigInt(registers.readUInt32LE(FLAGS_AT)),
    segments: [es, cs, ss, ds, fs, gs],
    cr0: word(CONTROL_AT),
    cr2: word(CONTROL_AT + 8),
    cr3: word(CONTROL_AT + 16),
    cr4: word(CONTROL_AT + 24),
    efer: word(CONTROL_AT + 40),
  };
}

/** What is booted. */
export interface StepperOptions {
  readonly kernel: string;
  readonly initrd: string | undefined;
  readonly commandLine: string;
  /** Bytes. */
  readonly memory: number;
}

export class QemuStepper {
  readonly #child: ChildProcess;
  readonly #client: GdbClient;
  readonly #folder: string;
  readonly #ram: number;
  readonly #kill = (): void => {
    this.#child.kill('SIGKILL');
  };

  private constructor(child: ChildProcess, client: GdbClient, folder: string) {
    this.#child = child;
    this.#client = client;
    this.#folder = folder;
    this.#ram = openSync(join(folder, 'ram'), 'r');
    process.once('exit', this.#kill);
  }

  /**
   * Starts QEMU and lets it go to the kernel's entry.
   * @throws PandoError QEMU_MISSING, GDB_UNREACHABLE
   */
  static async start(options: StepperOptions, entry: number): Promise<QemuStepper> {
    if (qemuVersion(PROGRAM) === undefined) {
      const remedy = 'install it (Debian: qemu-system-x86), or leave --against out';
      throw new PandoError('QEMU_MISSING', `${PROGRAM} cannot be run`, { remedy });
    }
    const folder = mkdtempSync(join(tmpdir(), 'pando-qemu-'));
    const megabytes = options.memory / 2 ** 20;
    const words = [
      ['-machine', 'q35,accel=tcg,memory-backend=ram', '-cpu', 'qemu64', '-smp', '1'],
      ['-object', `memory-backend-file,id=ram,size=${megabytes}M,mem-path=${folder}/ram,share=on`],
      ['-m', `${megabytes}M`, '-nodefaults', '-no-user-config', '-display', 'none', '-vga', 'none'],
      ['-serial', 'null', '-S', '-gdb', `unix:${folder}/gdb,server=on,wait=off`],
      ['-kernel', options.kernel, '-append', options.commandLine],
      options.initrd === undefined ? [] : ['-initrd', options.initrd],
    ].flat();
    const child = spawn(PROGRAM, words, { stdio: 'ignore' });
    try {
      const client = await GdbClient.open(join(folder, 'gdb'));
      await client.runTo(BigInt(entry));
      return new QemuStepper(child, client, folder);
    } catch (cause) {
      child.kill('SIGKILL');
      rmSync(folder, { recursive: true });
      throw cause;
    }
  }

  async state(): Promise<SteppedState> {
    return steppedState(await this.#client.registers());
  }

  step(): Promise<void> {
    return this.#client.step();
  }

  runTo(address: bigint): Promise<void> {
    return this.#client.runTo(address);
  }

  /** Reads memory at a linear address. */
  memory(address: bigint, length: number): Promise<Buffer> {
    return this.#client.memory(address, length);
  }

  /** Reads guest physical memory into `into`. */
  readRam(address: number, into: Uint8Array): void {
    let done = 0;
    while (done < into.length) {
      const got = readSync(this.#ram, into, done, into.length - done, address + done);
      if (got === 0) break;
      done += got;
    }
  }

  /** Ends QEMU. */
  async close(): Promise<void> {
    this.#client.close();
    closeSync(this.#ram);
    process.off('exit', this.#kill);
    const gone = new Promise((resolve) => this.#child.once('close', resolve));
    this.#kill();
    await gone;
    rmSync(this.#folder, { recursive: true });
  }
}
