/** When a guest that boots is ready to be written down. */
import { PandoError } from '../error.js';
import type { SnapshotManifest } from '../snapshot/manifest.js';
import { asleep } from '../vm/asleep.js';
import type { SnapshotOptions, VmOptions } from '../vm/types.js';
import { Vm } from '../vm/vm.js';
import { TextWatch } from './terminal/text-watch.js';

/**
 * Resolves at the guest's first ready moment: its console has shown `until`, or user space has begun and
 * the guest waits.
 */
async function ready(vm: Vm, until: string | undefined, timeoutMs: number): Promise<void> {
  const watch = until === undefined ? undefined : new TextWatch(until);
  const over = new AbortController();
  let limit: NodeJS.Timeout | undefined;
  let stop = (): void => undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      if (watch === undefined) asleep(vm, over.signal).then(resolve, reject);
      else {
        stop = vm.onConsole((bytes) => {
          if (watch.feed(bytes)) resolve();
        });
      }
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
    over.abort();
    clearTimeout(limit);
    stop();
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
