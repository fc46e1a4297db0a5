/** Starts the instances that a bench measures: Pando's in one process or a process each, or QEMU's. */
import { availableParallelism } from 'node:os';
import { BOOT_STAGE_PORT } from '../arch/layout.js';
import { type PeerOptions, QemuPeer } from '../debug/qemu-peer.js';
import { PandoError } from '../error.js';
import { createIsolatedVm } from '../fleet/fleet.js';
import type { FleetVm } from '../fleet/fleet-vm.js';
import { VmProcess } from '../fleet/process.js';
import type { StageName, VmOptions } from '../vm/types.js';
import { BootGroup } from './boot-group.js';
import type { SeriesName } from './footprint-report.js';

/** Value that a guest writes to BOOT_STAGE_PORT when user space runs. */
const USER_SPACE = 7;
/** Instances are measured in user space. */
export const USER_SPACE_STAGE = 'linux_start_user';

/** Instances that have reached user space: more and more of them. */
export interface BenchFleet {
  /** The processes that hold instances. */
  readonly pids: readonly number[];
  /**
   * Boots instances until there are `count`; `booted` hears how many there are.
   * @throws PandoError what creating VMs throws, VM_PROCESS_DIED, BENCH_GUEST_ENDED, BENCH_TIMEOUT
   */
  grow(count: number, booted: (count: number) => void): Promise<void>;
  close(): Promise<void>;
}

/** What QEMU boots when Pando boots `options`, with its counterpart of Pando's accelerator. */
export function peerOptions(options: VmOptions, until: StageName): PeerOptions {
  return {
    kernel: options.kernel,
    initrd: options.initrd,
    commandLine: options.commandLine ?? '',
    memory: options.memory ?? 2 ** 30,
    accelerator: options.accelerator === 'kvm' ? 'kvm' : 'tcg',
    stagePort: BOOT_STAGE_PORT,
    userSpaceValue: USER_SPACE,
    until,
  };
}

/** A guest whose boot fails of itself is tried again this often. */
const TRIES = 3;

/** One instance or several that are being made. */
export interface Starting {
  readonly pid: number;
  readonly reached: Promise<unknown>;
  close(): Promise<unknown>;
}

/** Starts a VM; `reached`: user space. */
export function startIsolated(vm: FleetVm): Starting {
  const reached = new Promise<void>((resolve, reject) => {
    vm.onStage(({ name }) => {
      if (name === USER_SPACE_STAGE) resolve();
    });
    void vm.exited.then((exit) => {
      const why = exit.kind === 'error' ? `: ${exit.message}` : '';
      const text = `VM ${vm.index} ended, ${exit.kind}${why}`;
      reject(new PandoError('BENCH_GUEST_ENDED', text));
    });
  });
  reached.catch(() => undefined);
  vm.start();
  return { pid: vm.pid, reached, close: () => vm.close() };
}

/**
 * A process for each instance, as many booting at a time as there are processors: a guest that gets too
 * little of one finds its timer broken and gives up.
 */
class ProcessFleet implements BenchFleet {
  readonly #running: Starting[] = [];
  #next = 0;

  constructor(
    private readonly start: (index: number) => Promise<Starting>,
    private readonly limitMs: number,
    private readonly say: (line: string) => void,
  ) {}

  get pids(): readonly number[] {
    return this.#running.map(({ pid }) => pid);
  }

  async grow(count: number, booted: (count: number) => void): Promise<void> {
    let ready = this.#next;
    const worker = async (): Promise<void> => {
      while (this.#next < count) {
        await this.#boot(this.#next++);
        booted(++ready);
      }
    };
    const workers = Math.min(count - this.#next, availableParallelism());
    try {
      await Promise.all(Array.from({ length: workers }, worker));
    } finally {
      // After a failure the other workers make no more.
      this.#next = count;
    }
  }

  async #boot(index: number): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const instance = await this.start(index);
      this.#running.push(instance);
      try {
        return void (await within(instance.reached, this.limitMs, `instance ${index}`));
      } catch (cause) {
        const panicked = cause instanceof PandoError && cause.code === 'QEMU_GUEST_PANIC';
        if (!panicked || attempt === TRIES) throw cause;
        this.say(`${cause.message}; tried again`);
        this.#running.splice(this.#running.indexOf(instance), 1);
        await instance.close();
      }
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#running.map((instance) => instance.close()));
  }
}

/** As `pando run --isolate shared`: all VMs in one process that does nothing else. */
class SharedFleet implements BenchFleet {
  readonly #host = new VmProcess();
  #booted = 0;

  constructor(
    private readonly options: VmOptions,
    private readonly limitMs: number,
  ) {}

  get pids(): readonly number[] {
    return [this.#host.pid];
  }

  async grow(count: number, booted: (count: number) => void): Promise<void> {
    const more = count - this.#booted;
    const before = this.#booted;
    const boot = new BootGroup(this.#host, more, this.options, USER_SPACE_STAGE, (reached) =>
      booted(before + reached),
    );
    this.#booted = count;
    await within(boot.reached, this.limitMs, `${more} VMs in one process`);
  }

  async close(): Promise<void> {
    this.#host.kill();
    await this.#host.ended;
  }
}

/**
 * A series' instances, none yet.
 * @param limitMs how long one boot (all boots of a `grow`, in one process) may take
 */
export function createFleet(
  series: SeriesName,
  options: VmOptions,
  limitMs: number,
  say: (line: string) => void,
): BenchFleet {
  if (series.system === 'qemu') {
    const start = (): Promise<Starting> =>
      Promise.resolve(new QemuPeer(peerOptions(options, USER_SPACE_STAGE)));
    return new ProcessFleet(start, limitMs, say);
  }
  const own = { ...options, load: series.load ?? 'map' };
  if (series.isolate === 'shared') return new SharedFleet(own, limitMs);
  const start = async (index: number): Promise<Starting> =>
    startIsolated(await createIsolatedVm(index, own));
  return new ProcessFleet(start, limitMs, say);
}

/** Rejects with BENCH_TIMEOUT when a promise takes too long; `what` names it. */
export async function within<T>(promise: Promise<T>, ms: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  try {
    return await Promise.race([
      promise,
      new Promise<never>((_, reject) => {
        timer = setTimeout(() => {
          const message = `${what} took more than ${ms / 1000} s`;
          reject(new PandoError('BENCH_TIMEOUT', message, { remedy: 'give a longer --timeout' }));
        }, ms);
      }),
    ]);
  } finally {
    clearTimeout(timer);
  }
}
