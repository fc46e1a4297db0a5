/** Images that are made in a VM: Debian with packages, which dpkg configures in a guest. */

import type { PullOptions } from '../image/debian.js';
import { CONFIGURING } from '../image/debian-root/configure-script.js';
import { type GuestWork, pullDebianRoot } from '../image/debian-root/debian-root.js';
import { PANIC_RESETS, PANIC_SHOWS } from '../image/manifest.js';
import { type ProgressSink, silent } from '../image/progress.js';
import type { RootImage } from '../image/store.js';
import { pmemFits } from '../run/images.js';
import { Vm } from '../vm/vm.js';

/** RAM of the VM in which packages are configured: what their scripts write is in it. */
const MEMORY = 1 << 30;
/** Of what a guest prints this much is kept for an error. */
const OUTPUT_KEPT = 1 << 16;

/** How to pull Debian with packages. */
export interface PullPackagesOptions extends PullOptions {
  /** Names, or `name=version`; the essential packages and all dependencies come with them. */
  readonly packages: readonly string[];
  /** Ends it; the guest is stopped. */
  readonly signal?: AbortSignal | undefined;
}

/** Runs the VM; lines of dpkg become progress. */
async function runGuest(
  { device, deviceBytes, disk, ...boot }: GuestWork,
  progress: ProgressSink,
  signal: AbortSignal | undefined,
): Promise<{ status: number; output: string }> {
  const output = { mode: 'rw', path: disk } as const;
  const memory = MEMORY;
  const machine = pmemFits(deviceBytes, memory)
    ? { pmem: device, disks: [output] }
    : { disks: [{ mode: 'ro', path: device } as const, output] };
  const commandLine = `${boot.commandLine} ${PANIC_RESETS} ${PANIC_SHOWS}`;
  const options = { ...boot, commandLine, ...machine, memory, balloon: true, reboot: false };
  await using vm = await Vm.create({ ...options, signal });
  const decoder = new TextDecoder();
  let text = '';
  let line = '';
  vm.onConsole((bytes) => {
    const piece = decoder.decode(bytes, { stream: true });
    text = (text + piece).slice(-OUTPUT_KEPT);
    const lines = (line + piece).split('\n');
    line = lines.pop() ?? '';
    for (const each of lines) {
      const name = CONFIGURING.exec(each)?.[1];
      if (name !== undefined) progress(`configuring ${name}`);
    }
  });
  vm.start();
  const exit = await vm.exited;
  await vm.consoleDrained();
  signal?.throwIfAborted();
  if (exit.kind === 'poweroff' && exit.status !== undefined) {
    return { status: exit.status, output: text };
  }
  return { status: 1, output: `${text}\nthe VM ended: ${exit.kind}` };
}

/**
 * Makes an image of Debian's kernel and a root file system of packages from the machine's package sources, as
 * an ordinary user.
 * @throws PandoError PACKAGES_UNRESOLVABLE, PACKAGES_NOT_CONFIGURED, and what pulling and VMs throw
 */
export function pullDebianPackages(options: PullPackagesOptions): Promise<RootImage> {
  const { progress = silent, signal, ...rest } = options;
  return pullDebianRoot({
    ...rest,
    progress,
    rootIsDisk: (bytes) => !pmemFits(bytes, MEMORY),
    runGuest: (work) => runGuest(work, progress, signal),
  });
}
