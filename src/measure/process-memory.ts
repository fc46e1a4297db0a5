/**
 * Memory of a process as the kernel counts it: /proc/PID/smaps_rollup and /proc/PID/smaps (proc(5)).
 * RSS counts a shared page in full in every process, PSS divides it by its mappers, USS leaves it out:
 * USS is what the host would get back if the process ended.
 */
import { existsSync, readFileSync } from 'node:fs';
import { PandoError } from '../error.js';
import { errnoOf } from '../host/errno.js';
import { type Mapping, parseSmaps } from '../host/smaps.js';

export type { Mapping } from '../host/smaps.js';

/** Bytes. */
export interface MemoryFigures {
  /** Resident set size. */
  readonly rss: number;
  /** Proportional set size. */
  readonly pss: number;
  /** Unique set size: Private_Clean + Private_Dirty. */
  readonly uss: number;
  readonly privateClean: number;
  readonly privateDirty: number;
  readonly sharedClean: number;
  readonly sharedDirty: number;
  /** Resident pages that belong to no file. */
  readonly anonymous: number;
  readonly swap: number;
}

/** Which mappings are wanted; all conditions that are given must hold. */
export interface MappingFilter {
  /** Host addresses: mappings that share a byte with any of these ranges. */
  readonly ranges?: readonly { readonly start: number; readonly end: number }[];
  /** Mappings of the file of this path, deleted since or not. */
  readonly path?: string;
  /** Mappings of this inode; tells apart files that had the same path at different times. */
  readonly inode?: number;
}

/**
 * What a process holds in memory, from smaps_rollup.
 *
 * @throws PandoError MEASURE_NO_PROCESS, MEASURE_NOT_PERMITTED, MEASURE_UNSUPPORTED
 */
export function readProcessMemory(pid: number | 'self' = 'self'): MemoryFigures {
  const [rollup] = parseSmaps(readProcFile(pid, 'smaps_rollup'));
  if (rollup === undefined) throw noProcess(pid);
  return figuresOf([rollup]);
}

/**
 * The mappings of a process that a filter selects, in address order, from smaps.
 *
 * @throws PandoError as `readProcessMemory`
 */
export function readMappings(pid: number | 'self' = 'self', filter: MappingFilter = {}): Mapping[] {
  const mappings = parseSmaps(readProcFile(pid, 'smaps'));
  if (mappings.length === 0) throw noProcess(pid);
  return mappings.filter((mapping) => selects(filter, mapping));
}

/** The sum of several mappings' figures. */
export function figuresOf(mappings: readonly Mapping[]): MemoryFigures {
  const sum = (name: string): number =>
    mappings.reduce((total, mapping) => total + (mapping.figures.get(name) ?? 0), 0);
  const privateClean = sum('Private_Clean');
  const privateDirty = sum('Private_Dirty');
  return {
    rss: sum('Rss'),
    pss: sum('Pss'),
    uss: privateClean + privateDirty,
    privateClean,
    privateDirty,
    sharedClean: sum('Shared_Clean'),
    sharedDirty: sum('Shared_Dirty'),
    anonymous: sum('Anonymous'),
    swap: sum('Swap'),
  };
}

function selects(filter: MappingFilter, mapping: Mapping): boolean {
  const { ranges, path, inode } = filter;
  if (path !== undefined && mapping.path !== path && mapping.path !== `${path} (deleted)`)
    return false;
  if (inode !== undefined && mapping.inode !== inode) return false;
  return ranges?.some(({ start, end }) => mapping.start < end && start < mapping.end) ?? true;
}

function noProcess(pid: number | 'self'): PandoError {
  return new PandoError(
    'MEASURE_NO_PROCESS',
    `process ${pid} has ended, or has no memory of its own`,
  );
}

function readProcFile(pid: number | 'self', file: string): string {
  const path = `/proc/${pid}/${file}`;
  try {
    return readFileSync(path, 'latin1');
  } catch (cause) {
    const name = errnoOf(cause);
    if (name === 'EACCES' || name === 'EPERM')
      throw new PandoError('MEASURE_NOT_PERMITTED', `${path}: ${name}`, {
        remedy: 'measure processes of your own user, or run as root',
        cause,
      });
    if (name === 'ENOENT' && existsSync(`/proc/${pid}`))
      throw new PandoError('MEASURE_UNSUPPORTED', `this kernel has no ${path}`, {
        remedy: 'use Linux 4.14 or later with CONFIG_PROC_PAGE_MONITOR',
        cause,
      });
    if (name === 'ENOENT' || name === 'ESRCH') throw noProcess(pid);
    throw cause;
  }
}
