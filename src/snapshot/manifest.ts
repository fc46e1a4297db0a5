/**
 * What the store writes down about a snapshot: JSON, one file a snapshot, format 2. It names everything that
 * a restore needs by its content.
 */
import { createHash } from 'node:crypto';
import { PAGE_SIZE } from '../arch/layout.js';
import { PandoError } from '../error.js';
import type { ObjectReference } from '../image/manifest.js';
import type { MemoryRun } from '../memory/memory-image.js';
import { checkRuns } from '../memory/memory-image.js';
import type { Offloads } from '../run/devices.js';
import { machineBytes } from '../run/images.js';
import type { AcceleratorName, TierChoice } from '../run/types.js';
import type { VmNetworkOptions } from '../run/vm-network.js';

export const SNAPSHOT_FORMAT = 2;

/** The machine that was captured; a restore makes the same one. */
export interface SnapshotMachine {
  readonly accelerator: AcceleratorName;
  /** Guest RAM in bytes. */
  readonly memory: number;
  readonly cpus: number;
  readonly cpu: string;
  readonly commandLine: string;
  readonly tier: TierChoice;
  /** Devices beside the board's, disks and the network. */
  readonly rng: boolean;
  readonly vsock: boolean;
  /** Absent in snapshots of releases that had none. */
  readonly balloon?: boolean;
}

/** A disk of the machine. */
export interface SnapshotDisk {
  readonly mode: 'ro' | 'cow';
  /**
   * The files that it shows, one behind the other: by path and content, or by content alone where the store has
   * them. They are not copied.
   */
  readonly files: readonly (ObjectReference & { readonly path: string | null })[];
  /** What the guest had written (`cow`): clusters of 4 KiB, and where on the disk they are. */
  readonly layer: { readonly clusters: ObjectReference; readonly runs: ObjectReference } | null;
}

/** The network that the machine was on. */
export interface SnapshotNetwork {
  /** What its driver has been told. */
  readonly mtu: number;
  readonly offloads: Offloads;
  /** Makes one like it; null for a link, or a hook, of the program that had the machine. */
  readonly options: VmNetworkOptions | null;
}

export interface SnapshotManifest {
  readonly format: typeof SNAPSHOT_FORMAT;
  readonly name: string;
  /** ISO 8601, UTC. */
  readonly created: string;
  /** Version of Pando that made it. */
  readonly pando: string;
  readonly machine: SnapshotMachine;
  readonly disks: readonly SnapshotDisk[];
  readonly net: SnapshotNetwork | null;
  /** The image's files, of which pages are named, and which a reset places again. */
  readonly kernel: ObjectReference;
  readonly initrd: ObjectReference | null;
  readonly modules: ObjectReference | null;
  /** Files of persistent memory behind RAM. */
  readonly pmem: readonly ObjectReference[];
  /** Pages that the guest had of its own, without gaps. */
  readonly pages: ObjectReference;
  /** Everything but RAM (machine-file.ts). */
  readonly state: ObjectReference;
  /** What has been decoded of the code in RAM (run/wasm/decoded-code.ts); absent when nothing has. */
  readonly code?: ObjectReference;
  /** Runs of guest RAM: first page, pages, file (0 pages, 1 kernel, 2 initrd, 3 modules, 4 and on pmem), first page of the file. */
  readonly runs: readonly (readonly [
    page: number,
    pages: number,
    file: number,
    filePage: number,
  ])[];
}

/** Numbers of the files in `runs`. */
export const RUN_FILE = { pages: 0, kernel: 1, initrd: 2, modules: 3, pmem: 4 } as const;

/** A name is a file name of the store. */
const NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/i;
const HASH = /^[0-9a-f]{64}$/;

/** @throws PandoError SNAPSHOT_NAME_INVALID */
export function checkSnapshotName(name: string): void {
  if (NAME.test(name)) return;
  throw new PandoError(
    'SNAPSHOT_NAME_INVALID',
    `${JSON.stringify(name)} is no name of a snapshot`,
    { remedy: 'use up to 64 letters, digits, dots, hyphens and underscores' },
  );
}

function invalid(name: string, what: string): PandoError {
  return new PandoError('SNAPSHOT_MANIFEST_INVALID', `snapshot ${name}: ${what}`, {
    remedy: `make it again: pando snapshot rm ${name}`,
  });
}

/** A manifest's runs, for files of which only the sizes matter. */
export function memoryRuns({ runs }: Pick<SnapshotManifest, 'runs'>): MemoryRun[] {
  return runs.map(([page, pages, file, filePage]) => ({ page, pages, file, filePage }));
}

/** A manifest's file: the JSON, and its SHA-256 in a line of its own. */
export function formatSnapshot(manifest: SnapshotManifest): string {
  const json = JSON.stringify(manifest);
  return `${json}\n${sumOf(json)}\n`;
}

function sumOf(json: string): string {
  return createHash('sha256').update(json).digest('hex');
}

/**
 * Reads a manifest's file.
 * @throws PandoError SNAPSHOT_MANIFEST_INVALID, SNAPSHOT_FORMAT, SNAPSHOT_RUNS_INVALID
 */
export function parseSnapshot(name: string, text: string): SnapshotManifest {
  let manifest: SnapshotManifest;
  const [json = '', sum, ...rest] = text.split('\n');
  try {
    manifest = JSON.parse(json) as SnapshotManifest;
  } catch {
    throw invalid(name, 'its manifest is no JSON');
  }
  if (typeof manifest !== 'object' || manifest === null) throw invalid(name, 'it has no fields');
  if (manifest.format !== SNAPSHOT_FORMAT) {
    throw new PandoError(
      'SNAPSHOT_FORMAT',
      `snapshot ${name} has format ${String(manifest.format)}, this release reads ${SNAPSHOT_FORMAT}`,
      { remedy: 'use the release that made it, or make it again' },
    );
  }
  if (sum !== sumOf(json) || rest.join('') !== '') {
    throw invalid(name, 'its manifest is not what was written');
  }
  checkFields(name, manifest);
  const { machine, kernel, initrd, modules, pmem, pages, runs } = manifest;
  const isRun = (run: unknown): boolean => Array.isArray(run) && run.length === 4;
  if (!Array.isArray(runs) || !runs.every(isRun)) throw invalid(name, 'its runs are no runs');
  const sizes = [
    ...[pages.size, kernel.size, initrd?.size ?? 0, modules?.size ?? 0],
    ...pmem.map(({ size }) => size),
  ];
  checkRuns(
    memoryRuns(manifest),
    machineBytes(machine.memory, sizes.slice(RUN_FILE.pmem)) / PAGE_SIZE,
    sizes.map((size) => Math.ceil(size / PAGE_SIZE)),
  );
  return manifest;
}

function checkFields(name: string, manifest: SnapshotManifest): void {
  const { machine } = manifest;
  const texts = [manifest.name, manifest.created, manifest.pando, machine?.cpu];
  if (![...texts, machine?.commandLine].every((value) => typeof value === 'string')) {
    throw invalid(name, 'a text is missing');
  }
  if (manifest.name !== name) throw invalid(name, `its manifest is of ${manifest.name}`);
  const { accelerator, memory, cpus, tier } = machine;
  if (!['wasm', 'kvm'].includes(accelerator)) throw invalid(name, 'its accelerator is not known');
  if (!['0', '1', 'auto'].includes(tier)) throw invalid(name, 'its tier is not known');
  const sized = Number.isSafeInteger(memory) && memory > 0 && memory % PAGE_SIZE === 0;
  if (!sized || !Number.isSafeInteger(cpus) || cpus < 1) {
    throw invalid(name, `its machine has ${memory} bytes and ${cpus} processors`);
  }
  if (typeof machine.rng !== 'boolean' || typeof machine.vsock !== 'boolean') {
    throw invalid(name, 'its devices are not named');
  }
  if (!['boolean', 'undefined'].includes(typeof machine.balloon)) {
    throw invalid(name, 'its balloon is neither there nor not');
  }
  const { kernel, initrd, modules, pmem, pages, state, code, disks, net } = manifest;
  if (!Array.isArray(pmem) || !Array.isArray(disks)) throw invalid(name, 'a list is missing');
  for (const disk of disks as readonly SnapshotDisk[]) checkDisk(name, disk);
  if (net !== null) checkNetwork(name, net);
  const optional = [initrd, modules].filter((file) => file !== null);
  if (code !== undefined) checkReference(name, code);
  for (const file of [kernel, pages, state, ...optional, ...pmem]) checkReference(name, file);
}

function checkReference(name: string, file: ObjectReference | undefined | null): void {
  const whole = Number.isSafeInteger(file?.size) && Number(file?.size) >= 0;
  if (!whole || !HASH.test(String(file?.sha256))) throw invalid(name, 'a file is not named');
}

function checkDisk(name: string, disk: SnapshotDisk): void {
  const { mode, files, layer } = disk ?? {};
  const written = mode === 'cow';
  const several = Array.isArray(files) && files.length > 0 && (!written || files.length === 1);
  if ((mode !== 'ro' && !written) || !several || written !== (layer !== null)) {
    throw invalid(name, 'a disk is neither ro nor cow, with its files');
  }
  for (const file of files) {
    checkReference(name, file);
    if (file.path !== null && (typeof file.path !== 'string' || file.path === '')) {
      throw invalid(name, 'a file of a disk has no path');
    }
  }
  if (layer !== null) for (const file of [layer?.clusters, layer?.runs]) checkReference(name, file);
}

function checkNetwork(name: string, net: SnapshotNetwork): void {
  const { mtu, offloads, options } = net ?? {};
  const flags = [offloads?.checksum, offloads?.tso4, offloads?.tso6];
  const described = Number.isSafeInteger(mtu) && flags.every((flag) => typeof flag === 'boolean');
  if (!described || options === undefined) throw invalid(name, 'its network is not described');
  if (options !== null && options?.mode !== 'user' && options?.mode !== 'passt') {
    throw invalid(name, 'its network is neither user nor passt');
  }
}
