/** Keeps a folder of files that can be made again within a limit: what was used longest ago goes first. */
import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** A file that was used in the last minute stays: another process may be about to open it. */
const IN_USE_MS = 60_000;

/** What a file takes up. */
interface Taken {
  /** Bytes. */
  readonly size: number;
  /** Bytes on the disk: a file with holes has fewer than its size. */
  readonly allocated: number;
}

/**
 * Deletes files, by their times, until the others together weigh at most `limit`.
 * @param keep the name of one that stays
 * @returns the names of those that are gone
 */
export function removeLeastRecent(
  folder: string,
  limit: number,
  weight: (file: Taken) => number,
  keep?: string,
): string[] {
  const files = readdirSync(folder).flatMap((name) => {
    const found = statSync(join(folder, name), { throwIfNoEntry: false });
    if (found === undefined) return [];
    const taken = { size: found.size, allocated: found.blocks * 512 };
    return [{ name, weight: weight(taken), used: found.mtimeMs }];
  });
  files.sort((a, b) => a.used - b.used);
  let total = files.reduce((sum, file) => sum + file.weight, 0);
  const removed: string[] = [];
  for (const file of files) {
    if (total <= limit || Date.now() - file.used < IN_USE_MS) break;
    if (file.name === keep) continue;
    rmSync(join(folder, file.name), { force: true });
    total -= file.weight;
    removed.push(file.name);
  }
  return removed;
}
