/** Starts the instances that a bench measures: Pando's in one process or a process each, or QEMU's. */
import { BOOT_STAGE_PORT } from '../arch/layout.js';
import { PandoError } from '../error.js';
import type { SeriesName } from '../measure/footprint.js';
import { type PeerOptions, QemuPeer } from '../measure/qemu-peer.js';
import type { VmOptions } from '../vm/types.js';
import { BenchHost } from './bench-host.js';
import { ForkedMachine } from './forked-machine.js';

/** Value that a guest writes to BOOT_STAGE_PORT when user space runs. */
const USER_SPACE = 7;

/** Running instances. */
export interface BenchFleet {
  readonly pids: readonly number[];
  /** Settles when all have reached user space; rejects when one cannot any more. */
  readonly userSpace: Promise<unknown>;
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

function startQemu(count: number, options: VmOptions, accelerator: 'tcg' | 'kvm'): BenchFleet {
  const peers = Array.from(
    { length: count },
    () => new QemuPeer(peerOptions(options, accelerator)),
  );
  return {
    pids: peers.map(({ pid }) => pid),
    userSpace: Promise.all(peers.map(({ userSpace }) => userSpace)),
    close: async () => {
      await Promise.all(peers.map((peer) => peer.close()));
    },
  };
}

/** As `pando run --isolate shared`: all VMs in one process that does nothing else. */
function startShared(count: number, options: VmOptions): BenchFleet {
  const host = new BenchHost();
  const boot = host.boot(count, options);
  return { pids: [host.pid], userSpace: boot.userSpace, close: () => host.close() };
}

/** As `pando run --isolate process`. */
async function startForked(count: number, options: VmOptions): Promise<BenchFleet> {
  const created = await Promise.allSettled(
    Array.from({ length: count }, (_, index) => ForkedMachine.create(index, options)),
  );
  const machines = created.flatMap((result) =>
    result.status === 'fulfilled' ? [result.value] : [],
  );
  const close = async (): Promise<void> => {
    await Promise.all(machines.map((machine) => machine.close()));
  };
  const failed = created.find((result) => result.status === 'rejected');
  if (failed !== undefined) {
    await close();
    throw failed.reason;
  }
  const userSpace = Promise.all(
    machines.map(
      (machine) =>
        new Promise<void>((resolve, reject) => {
          machine.onStage(({ name }) => {
            if (name === 'linux_start_user') resolve();
          });
          void machine.exited.then((exit) => {
            const why = exit.kind === 'error' ? `: ${exit.message}` : '';
            const text = `VM ${machine.index} ended, ${exit.kind}${why}`;
            reject(new PandoError('BENCH_GUEST_ENDED', text));
          });
        }),
    ),
  );
  userSpace.catch(() => undefined);
  for (const machine of machines) machine.start();
  return { pids: machines.map(({ pid }) => pid), userSpace, close };
}

/**
 * Starts `count` instances of a series.
 * @throws PandoError what creating VMs throws, VM_PROCESS_DIED
 */
export async function startFleet(
  series: SeriesName,
  count: number,
  options: VmOptions,
): Promise<BenchFleet> {
  if (series.system === 'qemu') {
    return startQemu(count, options, series.accelerator === 'kvm' ? 'kvm' : 'tcg');
  }
  const own = { ...options, load: series.load ?? 'map' };
  return series.isolate === 'shared' ? startShared(count, own) : await startForked(count, own);
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
