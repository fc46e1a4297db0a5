/**
 * What boots leave in the store for later ones (run/boot-gains.ts), made before anything is measured:
 * the first boot on a machine must not be another case than the tenth.
 */
import { statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { createIsolatedVm } from '../fleet/fleet.js';
import { profilePath } from '../run/boot-gains.js';
import { TRIM_DELAY } from '../vm/vm.js';
import { startIsolated, within } from './fleet.js';
import type { OpenSubject } from './subject.js';

/** A boot adds what the one before it did not find hot, less and less. */
const BOOTS = 4;
/** From the time at which pages are shared to the end of a boot, in milliseconds. */
const LINGER = 1000;

/** Tells one version of a file from another, whatever has been written in its place; undefined when there is none. */
function versionOf(path: string): string | undefined {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat && `${stat.ino} ${stat.birthtimeNs}`;
}

/**
 * Boots one instance after the other until the profile of its kernel stays as it is. A kernel that is in
 * memory alone leaves nothing, and is not booted.
 * @param limitMs how long a boot may take
 * @param say takes a line of progress
 * @throws PandoError what creating VMs throws, VM_PROCESS_DIED, BENCH_GUEST_ENDED, BENCH_TIMEOUT
 */
export async function warmUp(
  { vm, images }: OpenSubject,
  limitMs: number,
  say: (line: string) => void,
): Promise<void> {
  const profile = profilePath(images.kernel);
  if (profile === undefined) return;
  for (let boot = 1; boot <= BOOTS; boot++) {
    say(`boot ${boot} for what boots leave in the store`);
    const before = versionOf(profile);
    const instance = startIsolated(await createIsolatedVm(0, vm));
    try {
      await within(instance.reached, limitMs, 'a boot for what boots leave in the store');
      await sleep(TRIM_DELAY + LINGER);
    } finally {
      await instance.close();
    }
    if (versionOf(profile) === before) return;
  }
}
