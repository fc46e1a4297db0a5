/**
 * The command's side of bench-process.ts: a process of its own in which VMs boot, again and again. It is
 * started as a VM's own process is (docs/sharing.md), so that the two differ by how many VMs share it.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { performance } from 'node:perf_hooks';
import { PandoError } from '../error.js';
import { LEAN_MALLOC, LEAN_NODE, NO_CERTIFICATES } from '../fleet/forked-vm.js';
import type { StageName, VmOptions } from '../vm/types.js';
import type { FromBenchProcess, ToBenchProcess } from './bench-process.js';

const ENTRY = new URL('./bench-process.js', import.meta.url);

/** A stage of one VM, in milliseconds since 1970. */
export interface BenchStage {
  readonly vm: number;
  readonly name: StageName;
  readonly at: number;
  readonly source: string;
}

/** Some VMs that boot together. */
export class BenchBoot {
  readonly stages: BenchStage[] = [];
  /** Hears how many VMs have reached the wanted stage. */
  onReached: (count: number) => void = () => {};
  /** When the process began to make the first VM. */
  begun = Number.NaN;
  /** Settles when every VM has reached the wanted stage; rejects when one cannot any more. */
  readonly reached: Promise<void>;
  readonly paused: Promise<void>;
  readonly closed: Promise<void>;
  #settle: { resolve(): void; reject(error: unknown): void } = { resolve() {}, reject() {} };
  #pause: () => void = () => {};
  #close: () => void = () => {};
  readonly #count: number;
  readonly #until: StageName;

  constructor(count: number, until: StageName) {
    this.#count = count;
    this.#until = until;
    this.reached = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.reached.catch(() => undefined);
    this.paused = new Promise((resolve) => {
      this.#pause = resolve;
    });
    this.closed = new Promise((resolve) => {
      this.#close = resolve;
    });
  }

  hear(message: FromBenchProcess): void {
    if (message.type === 'begun') this.begun = message.at;
    else if (message.type === 'failed') {
      this.#settle.reject(new PandoError(message.code, message.message));
    } else if (message.type === 'paused') this.#pause();
    else if (message.type === 'closed') this.#close();
    else {
      const { vm, name, at, source } = message;
      this.stages.push({ vm, name, at, source });
      const arrived = this.stages.filter((stage) => stage.name === this.#until).length;
      if (name === this.#until) this.onReached(arrived);
      if (arrived === this.#count) this.#settle.resolve();
    }
  }

  /** The process has gone. */
  end(message: string): void {
    this.#settle.reject(new PandoError('BENCH_PROCESS_DIED', message));
    this.#pause();
    this.#close();
  }
}

/** The process. */
export class BenchHost {
  /** Just before the process was started, in milliseconds since 1970. */
  readonly started = performance.timeOrigin + performance.now();
  readonly #child: ChildProcess;
  readonly #boots = new Map<number, BenchBoot>();
  readonly #gone: Promise<void>;
  #next = 0;

  constructor() {
    const child = fork(ENTRY, [], {
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      execArgv: [...process.execArgv, ...LEAN_NODE],
      env: { ...process.env, ...LEAN_MALLOC, ...NO_CERTIFICATES },
    });
    this.#child = child;
    child.on('message', (message) => {
      const heard = message as FromBenchProcess;
      this.#boots.get(heard.boot)?.hear(heard);
    });
    this.#gone = new Promise((resolve) => {
      const end = (why: string): void => {
        for (const boot of this.#boots.values()) boot.end(`process ${this.pid}: ${why}`);
        resolve();
      };
      child.once('error', (cause) => end(cause.message));
      child.once('close', (status, signal) => end(`ended with ${signal ?? status}`));
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Makes and starts VMs; `until` is the stage that the boot's `reached` waits for. */
  boot(count: number, options: VmOptions, until: StageName): BenchBoot {
    const boot = new BenchBoot(count, until);
    const id = this.#next++;
    this.#boots.set(id, boot);
    this.#send({ type: 'boot', boot: id, count, options });
    return boot;
  }

  /** Stops the guests of a boot and their time; their workers stay. */
  async pause(boot: BenchBoot): Promise<void> {
    this.#send({ type: 'pause', boot: this.#number(boot) });
    await boot.paused;
  }

  /** Ends the VMs of a boot; the process stays. */
  async end(boot: BenchBoot): Promise<void> {
    this.#send({ type: 'close', boot: this.#number(boot) });
    await boot.closed;
  }

  #number(boot: BenchBoot): number {
    return [...this.#boots].find(([, known]) => known === boot)?.[0] ?? -1;
  }

  #send(message: ToBenchProcess): void {
    if (this.#child.connected) this.#child.send(message, () => undefined);
  }

  async close(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#gone;
  }
}
