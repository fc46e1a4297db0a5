/** Starts the instances that a bench measures: Pando's in one process or a process each, or QEMU's. */
import { availableParallelism } from 'node:os';
import { BOOT_STAGE_PORT } from '../arch/layout.js';
import { PandoError } from '../error.js';
import type { SeriesName } from '../measure/footprint.js';
import { type PeerOptions, QemuPeer } from '../measure/qemu-peer.js';
import type { VmOptions } from '../vm/types.js';
import { BenchHost } from './bench-host.js';
import { ForkedMachine } from './forked-machine.js';

/** Value that a guest writes to BOOT_STAGE_PORT when user space runs. */
const USER_SPACE = 7;

/** Instances that have reached user space. */
export interface BenchFleet {
  readonly pids: readonly number[];
  close(): Promise<void>;
}

/** What QEMU boots when Pando boots `options`. */
export function peerOptions(options: VmOptions, accelerator: 'tcg' | 'kvm'): PeerOptions {
  return {
    kernel: options.kernel,
    initrd: options.initrd,
    commandLine: options.commandLine ?? '',
    memory: options.memory ?? 2 ** 30,
    accelerator,
    stagePort: BOOT_STAGE_PORT,
    userSpaceValue: USER_SPACE,
  };
}

/** A guest whose boot fails of itself is tried again this often. */
const TRIES = 3;

/** One instance or several that are being made. */
interface Starting {
  readonly pid: number;
  readonly userSpace: Promise<unknown>;
  close(): Promise<unknown>;
}

function startForked(machine: ForkedMachine): Starting {
  const userSpace = new Promise<void>((resolve, reject) => {
    machine.onStage(({ name }) => {
      if (name === 'linux_start_user') resolve();
    });
    void machine.exited.then((exit) => {
      const why = exit.kind === 'error' ? `: ${exit.message}` : '';
      const text = `VM ${machine.index} ended, ${exit.kind}${why}`;
      reject(new PandoError('BENCH_GUEST_ENDED', text));
    });
  });
  userSpace.catch(() => undefined);
  machine.start();
  return { pid: machine.pid, userSpace, close: () => machine.close() };
}

/**
 * Boots processes, as many at a time as there are processors: a guest that gets too little of one finds
 * its timer broken and gives up.
 */
async function bootProcesses(
  count: number,
  limitMs: number,
  say: (line: string) => void,
  start: (index: number) => Promise<Starting>,
): Promise<BenchFleet> {
  const running: Starting[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(running.map((instance) => instance.close()));
  };
  let next = 0;
  const boot = async (index: number): Promise<void> => {
    for (let attempt = 1; ; attempt++) {
      const instance = await start(index);
      running.push(instance);
      try {
        await within(instance.userSpace, limitMs, `instance ${index}`);
        return;
      } catch (cause) {
        const panicked = cause instanceof PandoError && cause.code === 'QEMU_GUEST_PANIC';
        if (!panicked || attempt === TRIES) throw cause;
        say(`${cause.message}; tried again`);
        running.splice(running.indexOf(instance), 1);
        await instance.close();
      }
    }
  };
  const worker = async (): Promise<void> => {
    while (next < count) await boot(next++);
  };
  try {
    const workers = Math.min(count, availableParallelism());
    await Promise.all(Array.from({ length: workers }, worker));
  } catch (cause) {
    next = count;
    await close();
    throw cause;
  }
  return { pids: running.map(({ pid }) => pid), close };
}

/** As `pando run --isolate shared`: all VMs in one process that does nothing else. */
async function bootShared(count: number, limitMs: number, options: VmOptions): Promise<BenchFleet> {
  const host = new BenchHost();
  const boot = host.boot(count, options);
  try {
    await within(boot.userSpace, limitMs, `${count} VMs in one process`);
  } catch (cause) {
    await host.close();
    throw cause;
  }
  return { pids: [host.pid], close: () => host.close() };
}

/**
 * Boots `count` instances of a series to user space.
 * @param limitMs how long one boot (all boots, in one process) may take
 * @throws PandoError what creating VMs throws, VM_PROCESS_DIED, BENCH_GUEST_ENDED, BENCH_TIMEOUT
 */
export async function bootFleet(
  series: SeriesName,
  count: number,
  options: VmOptions,
  limitMs: number,
  say: (line: string) => void,
): Promise<BenchFleet> {
  if (series.system === 'qemu') {
    const accelerator = series.accelerator === 'kvm' ? 'kvm' : 'tcg';
    return bootProcesses(count, limitMs, say, () =>
      Promise.resolve(new QemuPeer(peerOptions(options, accelerator))),
    );
  }
  const own = { ...options, load: series.load ?? 'map' };
  if (series.isolate === 'shared') return bootShared(count, limitMs, own);
  return bootProcesses(count, limitMs, say, async (index) =>
    startForked(await ForkedMachine.create(index, own)),
  );
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
