/** What a bench boots and on what: the same for both benches and both systems. */
import { createReadStream } from 'node:fs';
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import { quoted } from '../cli/terminal/command-text.js';
import { progressLine } from '../cli/terminal/image-progress.js';
import { STANDARD_STREAMS } from '../cli/terminal/standard-streams.js';
import { qemuArguments, qemuVersion } from '../debug/qemu-peer.js';
import { PandoError } from '../error.js';
import type { Isolation } from '../fleet/fleet.js';
import { chooseBootImage } from '../image/boot-image.js';
import { probeAccelerators } from '../run/accelerators.js';
import { type GuestImages, openImages } from '../run/images.js';
import type { StageName } from '../run/types.js';
import { VERSION } from '../version.js';
import type { AcceleratorName, LoadMode, VmOptions } from '../vm/types.js';
import { peerOptions } from './fleet.js';
import type { BenchHost, BenchSubject, SeriesName } from './footprint-report.js';
import type { BenchFlags, BenchOptions } from './options.js';

/** Images opened once, and everything that is said about them. */
export interface OpenSubject {
  readonly vm: VmOptions;
  readonly accelerator: AcceleratorName;
  readonly images: GuestImages;
  readonly host: BenchHost;
  readonly subject: BenchSubject;
}

/** Brings a file into the page cache: how many of its pages are mapped in must not depend on the past. */
async function readThrough(path: string): Promise<void> {
  for await (const _ of createReadStream(path, { highWaterMark: 1 << 20 }));
}

/**
 * Opens what is to be booted, pulling Debian's image when it is missing.
 * @param last the stage up to which guests are to boot
 * @throws PandoError QEMU_MISSING, BENCH_KVM_EMULATED, why KVM does not work when it is asked for, and
 * what `chooseBootImage` and `openImages` throw
 */
export async function openSubject(
  flags: BenchFlags,
  options: BenchOptions,
  command: string,
  last: StageName,
): Promise<OpenSubject> {
  const accelerator = acceleratorFor(options.accelerator, last);
  const qemu = options.against ? qemuVersion() : undefined;
  if (options.against && qemu === undefined) {
    throw new PandoError('QEMU_MISSING', 'there is no qemu-system-x86_64', {
      remedy: 'install it (Debian: qemu-system-x86), or leave --against out',
    });
  }
  const progress = progressLine(STANDARD_STREAMS.err);
  const image = await chooseBootImage(flags, progress.sink).finally(() => progress.end());
  const vm: VmOptions = {
    kernel: image.kernel,
    initrd: image.initrd,
    commandLine: image.commandLine,
    memory: options.memory,
    accelerator,
    tier: options.tier,
    deduplicate: flags.deduplicate !== false,
  };
  for (const path of [image.kernel, image.initrd]) if (path !== undefined) await readThrough(path);
  const images = openImages({
    kernel: image.kernel,
    initrd: image.initrd,
    memory: options.memory,
    immutable: false,
  });
  const shared: VmOptions = {
    ...vm,
    kernel: images.kernel.path,
    initrd: images.initrd?.path,
  };
  const peer = qemuArguments(peerOptions(vm, last));
  return {
    vm: shared,
    accelerator,
    images,
    host: {
      processor: cpus()[0]?.model ?? 'unknown',
      cores: availableParallelism(),
      memory: totalmem(),
      kernel: release(),
      node: process.version,
      pando: VERSION,
      qemu: qemu ?? null,
    },
    subject: {
      command,
      kernel: image.kernel,
      initrd: image.initrd ?? null,
      commandLine: image.commandLine,
      memory: options.memory,
      qemuCommand: options.against ? ['qemu-system-x86_64', ...peer.map(quoted)].join(' ') : null,
      date: new Date().toISOString(),
    },
  };
}

/**
 * The accelerator of both sides. A KVM whose own host emulates runs no distribution kernel to user space
 * in any sensible time, or not at all: that is said before anything boots.
 */
function acceleratorFor(wanted: AcceleratorName | 'auto', last: StageName): AcceleratorName {
  const { kvm, choice } = probeAccelerators();
  if (wanted === 'auto') return choice;
  if (wanted === 'wasm') return 'wasm';
  if (!kvm.works) throw kvm.error;
  if (kvm.emulated && last !== 'vmm_init_end') {
    const rate = (kvm.instructionsPerSecond / 1e6).toFixed(1);
    const message = `/dev/kvm works, but its host emulates (${rate} million instructions a second): guests do not reach ${last}`;
    throw new PandoError('BENCH_KVM_EMULATED', message, {
      remedy:
        'use --accel wasm, a host with KVM of its own, or `pando bench boot --accel kvm --until vmm_init_end`',
    });
  }
  return 'kvm';
}

/** Pando in all asked-for modes, then QEMU, which has one process for each VM. */
export function seriesOf(
  isolate: readonly Isolation[],
  load: readonly LoadMode[],
  against: boolean,
  accelerator: AcceleratorName,
): SeriesName[] {
  const own = isolate.flatMap((where) =>
    load.map((how): SeriesName => {
      const place = where === 'shared' ? 'one process' : 'a process each';
      const images = how === 'map' ? 'mapped' : 'read';
      return {
        key: `pando-${where}-${how}`,
        title: `Pando ${accelerator}, ${place}, images ${images}`,
        system: 'pando',
        accelerator,
        load: how,
        isolate: where,
      };
    }),
  );
  if (!against) return own;
  const counterpart = accelerator === 'kvm' ? 'kvm' : 'tcg';
  const peer: SeriesName = {
    key: `qemu-${counterpart}`,
    title: `QEMU ${counterpart.toUpperCase()}, a process each`,
    system: 'qemu',
    accelerator: counterpart,
    load: null,
    isolate: 'process',
  };
  return [...own, peer];
}
