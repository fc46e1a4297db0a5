/**
 * What boots of a kernel leave in the store for later ones: the profile of what became hot, and the pages
 * that its guests have alike. Both hang on the kernel's content.
 */
import { readdirSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { isHalfWritten } from '../image/atomic-file.js';
import { removeLeastRecent } from '../image/least-recent.js';
import { storeFolders } from '../image/store-folders.js';
import type { BootFile } from './boot-file.js';
import type { AcceleratorName } from './types.js';

/** Bytes on the disk that pages of guests take up at most. */
const BOOTED_LIMIT = 2 ** 28;

/** Bytes of profiles at most. */
const PROFILES_LIMIT = 2 ** 26;

/** The profile of a kernel; undefined for one that is in memory alone. */
export function profilePath({ content }: BootFile): string | undefined {
  return content && join(storeFolders(content.store).profiles, content.sha256);
}

/** The pages that guests of a kernel on the same machine have alike once they have booted. */
export function deduplicatedPath(
  { content }: BootFile,
  machine: {
    readonly accelerator: AcceleratorName;
    readonly memory: number;
    readonly cpus: number;
    /** CPU model: kernels rewrite their code for it. */
    readonly cpu: string;
  },
): string | undefined {
  if (content === undefined) return undefined;
  const { accelerator, memory, cpus, cpu } = machine;
  const name = `${content.sha256}-${accelerator}-${cpus}-${encodeURIComponent(cpu)}-${memory / 2 ** 20}`;
  return join(storeFolders(content.store).deduplicated, name);
}

/** A profile has been written: keeps the folder of all within its limit, without what killed processes left half-written. */
export function boundProfiles(path: string): void {
  const folder = dirname(path);
  for (const name of readdirSync(folder)) {
    const file = join(folder, name);
    const written = statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? Number.POSITIVE_INFINITY;
    if (isHalfWritten(name, Date.now() - written)) rmSync(file, { force: true });
  }
  removeLeastRecent(folder, PROFILES_LIMIT, ({ size }) => size);
}

/** Keeps the folder of such pages within its limit. */
export function boundDeduplicated(folder: string): void {
  removeLeastRecent(folder, BOOTED_LIMIT, ({ allocated }) => allocated);
}
