/**
 * Makes an initrd from a folder. Everything belongs to root in the archive, whoever owns it here, so
 * an ordinary user can build one; modes, symbolic links and device nodes are kept, and times are 0, so
 * the same content gives the same bytes.
 */
import {
  closeSync,
  fsyncSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  writeSync,
} from 'node:fs';
import { dirname, join, resolve, sep } from 'node:path';
import { PandoError, reasonOf } from '../error.js';
import { type CpioInput, cpioChunks } from '../loader/cpio-writer.js';
import { temporaryName } from './atomic-file.js';

/** Splits a dev_t of Linux (sys/sysmacros.h, gnu_dev_major and gnu_dev_minor) below 2^32. */
function deviceNumbers(rdev: number): { major: number; minor: number } {
  return { major: (rdev >>> 8) & 0xfff, minor: (rdev & 0xff) | ((rdev >>> 12) & 0xfff00) };
}

function readEntry(path: string, name: string, found: Stats): CpioInput | undefined {
  const base = { name, permissions: found.mode & 0o7777 };
  if (found.isFile()) return { ...base, kind: 'file', content: readFileSync(path) };
  if (found.isDirectory()) return { ...base, kind: 'directory' };
  if (found.isSymbolicLink()) return { ...base, kind: 'symlink', target: readlinkSync(path) };
  if (found.isCharacterDevice()) {
    return { ...base, kind: 'character', ...deviceNumbers(found.rdev) };
  }
  if (found.isBlockDevice()) return { ...base, kind: 'block', ...deviceNumbers(found.rdev) };
  if (found.isFIFO()) return { ...base, kind: 'fifo' };
  // A socket belongs to the process that listens on it: an archive of one would be of no use.
  return undefined;
}

/** The folder's entries, parents before children, names in code unit order; one in memory at a time. */
export function* folderEntries(folder: string, prefix = ''): Generator<CpioInput> {
  for (const child of readdirSync(join(folder, prefix)).sort()) {
    const name = prefix === '' ? child : `${prefix}/${child}`;
    const path = join(folder, name);
    const entry = readEntry(path, name, lstatSync(path));
    if (entry === undefined) continue;
    yield entry;
    if (entry.kind === 'directory') yield* folderEntries(folder, name);
  }
}

/** What `writeFolderInitrd` made. */
export interface FolderInitrd {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  readonly entries: number;
}

/**
 * Writes the archive of a folder; the output appears whole or not at all.
 * @throws PandoError INITRD_OUTPUT_INSIDE, INITRD_NOT_MADE, and what `cpioChunks` throws
 */
export function writeFolderInitrd(folder: string, output: string): FolderInitrd {
  let temporary: string | undefined;
  try {
    const target = realpathSync(dirname(resolve(output)));
    if (`${target}${sep}`.startsWith(`${realpathSync(folder)}${sep}`)) {
      throw new PandoError(
        'INITRD_OUTPUT_INSIDE',
        `${output} lies in ${folder} and would hold itself`,
        {
          remedy: 'write the archive to another folder',
        },
      );
    }
    temporary = temporaryName(target);
    const file = openSync(temporary, 'wx', 0o644);
    let size = 0;
    let entries = 0;
    const counted = function* () {
      for (const entry of folderEntries(folder)) {
        entries++;
        yield entry;
      }
    };
    try {
      for (const chunk of cpioChunks(counted())) {
        for (let at = 0; at < chunk.length; ) at += writeSync(file, chunk, at);
        size += chunk.length;
      }
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, output);
    return { path: output, size, entries };
  } catch (cause) {
    if (temporary !== undefined) rmSync(temporary, { force: true });
    if (cause instanceof PandoError) throw cause;
    const path = (cause as NodeJS.ErrnoException).path ?? folder;
    throw new PandoError('INITRD_NOT_MADE', `initrd of ${folder}: ${path}: ${reasonOf(cause)}`, {
      remedy: 'name a folder whose files you may all read, and an output that you may write',
      cause,
    });
  }
}
