/** When a guest that boots is ready to be written down. */
import { PandoError } from '../error.js';
import type { SnapshotManifest } from '../snapshot/manifest.js';
import type { SnapshotOptions, VmOptions } from '../vm/types.js';
import { Vm } from '../vm/vm.js';
import { TextWatch } from './terminal/text-watch.js';

/** A guest that has nothing more to do at its start is asleep and silent in so many looks at it. */
const IDLE_LOOKS = 10;
const LOOK_MS = 50;

/**
 * Resolves at the guest's first ready moment: its console has shown `until`, or user space has begun and
 * the guest waits. A host with other work makes a guest slow, but not sleep.
 */
async function ready(vm: Vm, until: string | undefined, timeoutMs: number): Promise<void> {
  const watch = until === undefined ? undefined : new TextWatch(until);
  let looks: NodeJS.Timeout | undefined;
  let limit: NodeJS.Timeout | undefined;
  const stops: (() => void)[] = [];
  try {
    await new Promise<void>((resolve, reject) => {
      let idle = 0;
      const look = (): void => {
        const began = vm.stages.some(({ name }) => name === 'linux_start_user');
        idle = began && vm.vcpuState().halted ? idle + 1 : 0;
        if (idle === IDLE_LOOKS) resolve();
      };
      if (watch === undefined) looks = setInterval(look, LOOK_MS);
      stops.push(
        vm.onConsole((bytes) => {
          idle = 0;
          if (watch?.feed(bytes) === true) resolve();
        }),
      );
      limit = setTimeout(() => {
        const what = until === undefined ? 'its user space was ready' : `it printed ${until}`;
        const message = `${timeoutMs / 1000} s went by before ${what}`;
        reject(new PandoError('SNAPSHOT_TIMEOUT', message, { remedy: 'give a longer --timeout' }));
      }, timeoutMs);
      void vm.exited.then((exit) => {
        const why = exit.kind === 'error' ? `: ${exit.message}` : '';
        const message = `the guest ended (${exit.kind}${why}) before it was ready`;
        reject(new PandoError('SNAPSHOT_GUEST_ENDED', message, { remedy: 'try it: pando run' }));
      });
    });
  } finally {
    clearInterval(looks);
    clearTimeout(limit);
    for (const stop of stops) stop();
  }
}

/** When a guest is ready. */
interface Readiness {
  /** Its console has shown this; that it waits when undefined. */
  readonly until: string | undefined;
  /** Milliseconds that it may take. */
  readonly timeoutMs: number;
}

/**
 * Boots a machine and writes it down at its first ready moment.
 * @param writing called when it is ready
 * @throws PandoError what making the VM and writing the snapshot throw, SNAPSHOT_TIMEOUT, SNAPSHOT_GUEST_ENDED
 */
export async function writeReady(
  machine: VmOptions,
  snapshot: SnapshotOptions,
  { until, timeoutMs }: Readiness,
  writing: () => void,
): Promise<SnapshotManifest> {
  const vm = await Vm.create(machine);
  try {
    vm.start();
    await ready(vm, until, timeoutMs);
    await vm.trim();
    writing();
    return await vm.snapshot(snapshot);
  } finally {
    await vm.close();
  }
}
