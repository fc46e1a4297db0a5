/** The measurements of a run: what `--report FILE` holds, and what the tables are made of. */
import { existsSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { access, constants, mkdir, stat, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import { dirname, extname, join } from 'node:path';
import { GENERAL_REGISTERS, SEGMENT_REGISTERS } from '../arch/vcpu-state.js';
import { PandoError, reasonOf } from '../error.js';
import type { FleetVm } from '../fleet/fleet-vm.js';
import type { Observation } from '../fleet/observation.js';
import { NOT_MADE } from '../fleet/planned-vm.js';
import { figuresOf, readMappings, readProcessMemory } from '../measure/process-memory.js';
import { remedyFor } from '../system-error.js';
import type { Stage, VcpuState, VmExit, VmMemory } from '../vm/types.js';
import type { Outcome, Watched } from './supervise.js';

/** Bytes, from /proc/PID/smaps_rollup. */
export interface ProcessReport {
  readonly pid: number;
  readonly uss: number;
  readonly pss: number;
  readonly rss: number;
  /** The process's mappings of the image files alone, from /proc/PID/smaps. */
  readonly images: readonly ImageMappings[];
}

/** A file that guests' memory is mapped from. */
export interface ImageFile {
  /** What the user calls it. */
  readonly name: string;
  /** Where it is opened: itself, or a descriptor of a sealed copy. */
  readonly path: string;
}

/** One process's mappings of one image file, in bytes. */
export interface ImageMappings {
  readonly path: string;
  readonly uss: number;
  readonly pss: number;
  readonly rss: number;
  /** Of rss: pages that the guest wrote, or that were otherwise copied. */
  readonly anonymous: number;
}

/** Registers as hexadecimal text. */
export type RegisterReport = Readonly<Record<string, string>>;

/** How a VM ended. */
export type ExitReport =
  | Exclude<VmExit, { kind: 'shutdown' }>
  | { readonly kind: 'shutdown'; readonly registers: RegisterReport };

/** One VM. */
export interface VmReport {
  readonly id: number;
  readonly pid: number;
  readonly stages: readonly Stage[];
  /** 0 where the accelerator does not count. */
  readonly instructions: number;
  /** null for a VM that ran when it was measured. */
  readonly exit: ExitReport | null;
  /** Where the VM was when it was measured; null when it could not be asked. */
  readonly rip: string | null;
  /** null when its process has died. */
  readonly memory: VmMemory | null;
}

/** A run's report. */
export interface RunReport {
  readonly accelerator: string;
  readonly load: string;
  readonly isolate: 'shared' | 'process';
  readonly outcome: Outcome['kind'];
  readonly host: {
    readonly node: string;
    readonly kernel: string;
    readonly processor: string;
    readonly cores: number;
    /** Bytes. */
    readonly memory: number;
  };
  readonly vms: readonly VmReport[];
  /** The processes that hold VMs; `source` of all figures is smaps_rollup. */
  readonly processes: readonly ProcessReport[];
  /** The process of the command, when it holds no VM itself. */
  readonly supervisor?: ProcessReport;
}

/** A 64-bit value as 16 hexadecimal digits. */
export function hex64(value: bigint): string {
  return `0x${value.toString(16).padStart(16, '0')}`;
}

/** All registers of a state by name, RIP first. */
export function registersOf(state: VcpuState): RegisterReport {
  return Object.fromEntries([
    ['rip', hex64(state.rip)],
    ['rflags', hex64(state.rflags)],
    ...GENERAL_REGISTERS.map((name, index) => [name, hex64(state.gpr[index] ?? 0n)]),
    ['cr0', hex64(state.cr0)],
    ['cr2', hex64(state.cr2)],
    ['cr3', hex64(state.cr3)],
    ['cr4', hex64(state.cr4)],
    ['efer', hex64(state.efer)],
    ...SEGMENT_REGISTERS.map((name, index) => [
      name,
      `0x${(state.segments[index] ?? 0).toString(16).padStart(4, '0')}`,
    ]),
  ]);
}

function exitReport(exit: VmExit | undefined): ExitReport | null {
  if (exit === undefined) return null;
  return exit.kind === 'shutdown' ? { kind: 'shutdown', registers: registersOf(exit.vcpu) } : exit;
}

function imageMappings(pid: number, images: readonly ImageFile[]): ImageMappings[] {
  return images.map(({ name, path }) => {
    // The link of a descriptor (proc(5)) names a file in memory as its mappings do.
    const mapped = path.startsWith('/proc/') ? readlinkSync(path) : realpathSync(path);
    const filter = { path: mapped.replace(/ \(deleted\)$/, ''), inode: statSync(path).ino };
    const { uss, pss, rss, anonymous } = figuresOf(readMappings(pid, filter));
    return { path: name, uss, pss, rss, anonymous };
  });
}

function processReport(pid: number, images: readonly ImageFile[]): ProcessReport {
  const { uss, pss, rss } = readProcessMemory(pid);
  return { pid, uss, pss, rss, images: imageMappings(pid, images) };
}

function processReports(vms: readonly FleetVm[], images: readonly ImageFile[]): ProcessReport[] {
  const pids = [...new Set(vms.map(({ pid }) => pid))].filter((pid) => pid !== NOT_MADE);
  return pids.flatMap((pid) => {
    try {
      return [processReport(pid, images)];
    } catch (cause) {
      // A process that has died has no figures; its VM's exit says that it died.
      if (cause instanceof PandoError && cause.code === 'MEASURE_NO_PROCESS') return [];
      throw cause;
    }
  });
}

/** An observation, or undefined where the VM's process is gone or silent. */
export async function tryObserve(vm: FleetVm): Promise<Observation | undefined> {
  try {
    return await vm.observe();
  } catch (cause) {
    if (cause instanceof PandoError) return undefined;
    throw cause;
  }
}

/**
 * Measures VMs and the processes that hold them, as they are now.
 */
export async function measureRun(
  watched: readonly Watched[],
  outcome: Outcome,
  images: readonly ImageFile[],
): Promise<RunReport> {
  const fleet = watched.map(({ vm }) => vm);
  const processes = processReports(fleet, images);
  const vms = await Promise.all(
    watched.map(async ({ vm, exit }): Promise<VmReport> => {
      const seen = await tryObserve(vm);
      return {
        id: vm.index,
        pid: vm.pid,
        stages: [...vm.stages],
        instructions: Number(seen?.instructions ?? 0n),
        exit: exitReport(exit),
        rip: seen === undefined ? null : hex64(seen.vcpu.rip),
        memory: seen?.memory ?? null,
      };
    }),
  );
  const apart = fleet.every(({ pid }) => pid !== process.pid);
  return {
    accelerator: fleet[0]?.accelerator ?? 'wasm',
    load: fleet[0]?.load ?? 'map',
    isolate: apart ? 'process' : 'shared',
    outcome: outcome.kind,
    host: {
      node: process.version,
      kernel: release(),
      processor: cpus()[0]?.model ?? 'unknown',
      cores: availableParallelism(),
      memory: totalmem(),
    },
    vms,
    processes,
    ...(apart ? { supervisor: processReport(process.pid, []) } : {}),
  };
}

function unwritable(path: string, cause: unknown): PandoError {
  const reason = reasonOf(cause);
  return new PandoError('REPORT_UNWRITABLE', `report file ${path}: ${reason}`, {
    remedy: remedyFor(reason) ?? 'name a file in a folder that exists and that you may write',
    cause,
  });
}

/** Where `--report` goes. */
export interface ReportTarget {
  readonly path: string;
  /** `folder`: run.html, run.json and the maps; `page`: HTML alone; `json`: the measurements alone. */
  readonly kind: 'folder' | 'page' | 'json';
}

/** What a path stands for: a folder that exists or has a name without a suffix, else a file. */
export async function reportTarget(path: string): Promise<ReportTarget> {
  const found = await stat(path).catch(() => undefined);
  if (found?.isDirectory() === true) return { path, kind: 'folder' };
  if (extname(path) === '.html') return { path, kind: 'page' };
  const folder = found === undefined && (path.endsWith('/') || extname(path) === '');
  return { path, kind: folder ? 'folder' : 'json' };
}

/**
 * Checks before VMs are booted for it that a report can be written.
 * @throws PandoError REPORT_UNWRITABLE
 */
export async function checkReportFile(path: string): Promise<void> {
  try {
    await access(existsSync(path) ? path : dirname(path), constants.W_OK);
  } catch (cause) {
    throw unwritable(path, cause);
  }
}

/** A report as it is written: JSON, a line feed at the end. */
export function formatReport(report: RunReport): string {
  return `${JSON.stringify(report, null, 2)}\n`;
}

/** A file of a report: its name, and its contents. */
export type ReportFile = readonly [name: string, data: string | Uint8Array];

/** @throws PandoError REPORT_UNWRITABLE */
export async function writeReport(path: string, data: string | Uint8Array): Promise<void> {
  try {
    await writeFile(path, data);
  } catch (cause) {
    throw unwritable(path, cause);
  }
}

/**
 * Makes the folder if need be.
 * @throws PandoError REPORT_UNWRITABLE
 */
export async function makeReportFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (cause) {
    throw unwritable(path, cause);
  }
}

/**
 * Writes the files of a report into a folder, which is made if need be.
 * @throws PandoError REPORT_UNWRITABLE
 */
export async function writeReportFolder(
  folder: string,
  files: readonly ReportFile[],
): Promise<void> {
  await makeReportFolder(folder);
  for (const [name, data] of files) await writeReport(join(folder, name), data);
}

/** The line that tells a user what has been written. */
export function writtenLine(path: string, files: readonly ReportFile[] = []): string {
  const names = files.map(([name]) => name).join(', ');
  return `report written: ${path}${names && `: ${names}`}\n`;
}
