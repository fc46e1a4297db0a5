/**
 * A VM without a guest: its command line is a script of what it does once it is started, so that the
 * command line's behaviour is tested without a boot. Words, done in order: `say:TEXT` (`_` is a space,
 * `/` parts chunks, `\n` a line feed), `poweroff`, `triple`, `fail`, `crash` (the process), `wait:MS`,
 * `stage:NAME`, `echo` (from then on input comes back), `refuse` (creation fails), `hold` (the thread, for a minute).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { PandoError } from '../../error.js';
import type {
  RestoreOptions,
  Stage,
  StageName,
  VcpuState,
  VmExit,
  VmMemory,
  VmOptions,
} from '../../vm/types.js';
import type { VmHandle } from '../fleet-vm.js';

/** A recognizable state. */
export const FAKE_STATE: VcpuState = {
  rip: 0xffffffff81000123n,
  rflags: 2n,
  gpr: Array.from({ length: 16 }, (_, index) => BigInt(index)),
  cr0: 0x80050033n,
  cr2: 0n,
  cr3: 0x1000n,
  cr4: 0x20n,
  efer: 0xd01n,
  segments: [0, 0x10, 0x18, 0, 0, 0],
  halted: false,
};

const FAKE_MEMORY: VmMemory = {
  parts: [
    { part: 'text', total: 100, shared: 60, own: 10, untouched: 30 },
    { part: 'initrd', total: 20, shared: 20, own: 0, untouched: 0 },
  ],
  source: 'a test',
  fallbacks: [],
};

export class FakeVm implements VmHandle {
  readonly accelerator = 'wasm';
  readonly load;
  readonly stages: Stage[] = [];
  readonly exited: Promise<VmExit>;
  /** How often `close` was called. */
  closed = 0;
  private end!: (exit: VmExit) => void;
  private ended = false;
  private echoes = false;
  private readonly consoles = new Set<(bytes: Uint8Array) => void>();
  private readonly stageListeners = new Set<(stage: Stage) => void>();

  private constructor(
    private readonly script: readonly string[],
    options: VmOptions | RestoreOptions,
  ) {
    this.load = ('load' in options ? options.load : undefined) ?? 'map';
    this.exited = new Promise((resolve) => {
      this.end = (exit) => {
        this.ended = true;
        resolve(exit);
      };
    });
  }

  static create(options: VmOptions | RestoreOptions): Promise<FakeVm> {
    const script = (('commandLine' in options ? options.commandLine : undefined) ?? '').split(' ');
    if (script.includes('refuse')) {
      throw new PandoError('FAKE_REFUSED', 'the script says so', { remedy: 'change the script' });
    }
    return Promise.resolve(new FakeVm(script, options));
  }

  start(): void {
    void this.play();
  }

  private async play(): Promise<void> {
    for (const word of this.script) {
      if (this.ended) return;
      const [verb, ...rest] = word.split(':');
      await this.act(verb ?? '', rest.join(':'));
    }
  }

  private async act(verb: string, argument: string): Promise<void> {
    switch (verb) {
      case 'say':
        for (const chunk of argument.replaceAll('_', ' ').replaceAll('\\n', '\n').split('/')) {
          this.print(new TextEncoder().encode(chunk));
          await sleep(1);
        }
        break;
      case 'wait':
        await sleep(Number(argument), undefined, { ref: false });
        break;
      case 'stage': {
        const stage = { name: argument as StageName, ms: performance.now(), source: 'a test' };
        this.stages.push(stage);
        for (const listener of this.stageListeners) listener(stage);
        break;
      }
      case 'echo':
        this.echoes = true;
        break;
      case 'poweroff':
        this.end({ kind: 'poweroff' });
        break;
      case 'triple':
        this.end({ kind: 'shutdown', vcpu: FAKE_STATE });
        break;
      case 'fail':
        this.end({ kind: 'error', code: 'FAKE_FAILURE', message: 'the script says so' });
        break;
      case 'hold':
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60_000);
        break;
      case 'crash':
        process.kill(process.pid, 'SIGKILL');
        await sleep(1000);
        break;
    }
  }

  private print(bytes: Uint8Array): void {
    for (const listener of this.consoles) listener(bytes);
  }

  stop(): Promise<void> {
    this.end({ kind: 'stopped' });
    return Promise.resolve();
  }

  writeConsole(bytes: Uint8Array): Promise<boolean> {
    if (this.echoes) this.print(bytes);
    return Promise.resolve(!this.ended);
  }

  consoleDrained(): Promise<void> {
    return this.exited.then(() => undefined);
  }

  onConsole(listener: (bytes: Uint8Array) => void): () => void {
    this.consoles.add(listener);
    return () => this.consoles.delete(listener);
  }

  onStage(listener: (stage: Stage) => void): () => void {
    this.stageListeners.add(listener);
    return () => this.stageListeners.delete(listener);
  }

  /** How often it was paused. */
  paused = 0;

  async pause(): Promise<void> {
    this.paused++;
  }

  async trim(): Promise<number> {
    return 42;
  }

  pressPowerButton(): void {
    this.end({ kind: 'poweroff' });
  }

  injectNmi(): void {
    this.print(new TextEncoder().encode('NMI'));
  }

  instructions(): bigint {
    return 12345n;
  }

  vcpuState(): VcpuState {
    return FAKE_STATE;
  }

  async refreshStatistics(): Promise<void> {}

  memory(): VmMemory {
    return FAKE_MEMORY;
  }

  close(): Promise<void> {
    this.closed++;
    return this.stop();
  }
}
