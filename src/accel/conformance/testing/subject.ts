/** Runs conformance guests on an accelerator: wasm everywhere, kvm where it is. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PandoError } from '../../../error.js';
import type { AcceleratorName, VmExit, VmOptions } from '../../../vm/types.js';
import { Vm } from '../../../vm/vm.js';
import { KvmSystem } from '../../kvm/system.js';
import type { GuestCode } from './guest.js';

export const ACCELERATORS: readonly AcceleratorName[] = ['wasm', 'kvm'];

/** Why an accelerator cannot be tested here; undefined when it can. */
export function absence(accelerator: AcceleratorName): string | undefined {
  if (accelerator === 'wasm') return undefined;
  try {
    KvmSystem.open().close();
    return undefined;
  } catch (error) {
    if (error instanceof PandoError) return `KVM is absent: ${error.toLine()}`;
    throw error;
  }
}

/** How a guest's run went. */
export interface Run {
  /** What it printed. */
  readonly lines: readonly string[];
  readonly exit: VmExit;
}

/** How long a guest may take, in milliseconds. */
const LIMIT = 180_000;

/** A machine with a conformance guest in it. */
export class Subject implements AsyncDisposable {
  readonly vm: Vm;
  #text = '';
  #waiting: { readonly text: string; readonly resolve: () => void }[] = [];

  private constructor(vm: Vm, listen: boolean) {
    this.vm = vm;
    if (!listen) return;
    vm.onConsole((bytes) => {
      this.#text += Buffer.from(bytes).toString('latin1');
      this.#waiting = this.#waiting.filter(({ text, resolve }) => {
        if (!this.#text.includes(text)) return true;
        resolve();
        return false;
      });
    });
  }

  /** With `listen: false` the test reads the console itself. */
  static async create(
    accelerator: AcceleratorName,
    code: GuestCode,
    { listen = true, ...options }: Partial<VmOptions> & { listen?: boolean } = {},
  ): Promise<Subject> {
    const folder = mkdtempSync(join(tmpdir(), 'pando-guest-'));
    try {
      const kernel = join(folder, 'guest.elf');
      writeFileSync(kernel, code.image());
      const vm = await Vm.create({ kernel, memory: 64 << 20, accelerator, ...options });
      return new Subject(vm, listen);
    } finally {
      // The VM holds the file open: nothing stays behind of a test that drops its VM.
      rmSync(folder, { recursive: true });
    }
  }

  /** All that was printed so far. */
  get text(): string {
    return this.#text;
  }

  /** Resolves once the console has shown a text, or the VM has ended. */
  async until(text: string): Promise<void> {
    if (this.#text.includes(text)) return;
    const shown = new Promise<void>((resolve) => this.#waiting.push({ text, resolve }));
    const timer = setTimeout(() => void this.vm.stop(), LIMIT);
    await Promise.race([shown, this.vm.exited]);
    clearTimeout(timer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.vm.close();
  }
}

/** Runs a guest until it ends. */
export async function run(
  accelerator: AcceleratorName,
  code: GuestCode,
  options: Partial<VmOptions> = {},
): Promise<Run> {
  const subject = await Subject.create(accelerator, code, options);
  const timer = setTimeout(() => void subject.vm.stop(), LIMIT);
  try {
    subject.vm.start();
    const exit = await subject.vm.exited;
    return { lines: subject.text.split('\n').slice(0, -1), exit };
  } finally {
    clearTimeout(timer);
    await subject[Symbol.asyncDispose]();
  }
}

/** The value that a guest printed as `name=`. */
export function value({ lines }: Run, name: string): number {
  const line = lines.find((text) => text.startsWith(`${name}=`));
  if (line === undefined) throw new Error(`no ${name} in: ${lines.join(' | ')}`);
  return Number.parseInt(line.slice(name.length + 1), 16);
}
