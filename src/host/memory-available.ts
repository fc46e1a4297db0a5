/**
 * Memory that processes may still take: /proc/meminfo, and the limits of the control groups that this
 * process is in (Linux, admin-guide "Control Group v2", memory.max; "Memory Resource Controller" for v1).
 */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Bytes, and what sets them. */
export interface AvailableMemory {
  readonly bytes: number;
  readonly source: string;
}

/** Names of a controller's files; `cache` are the lines of memory.stat that count what can be dropped. */
const VERSIONS = [
  {
    mount: 'sys/fs/cgroup',
    line: /^0::(.*)$/m,
    limit: 'memory.max',
    usage: 'memory.current',
    cache: /^(?:active|inactive)_file (\d+)$/gm,
  },
  {
    mount: 'sys/fs/cgroup/memory',
    line: /^\d+:(?:[\w=]+,)*memory(?:,[\w=]+)*:(.*)$/m,
    limit: 'memory.limit_in_bytes',
    usage: 'memory.usage_in_bytes',
    cache: /^total_(?:active|inactive)_file (\d+)$/gm,
  },
] as const;

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return undefined;
  }
}

/** What each group from this process's up to the root still allows. */
function* groupAllowances(root: string): Generator<number> {
  const groups = read(join(root, 'proc/self/cgroup')) ?? '';
  for (const { mount, line, limit, usage, cache } of VERSIONS) {
    const top = join(root, mount);
    const path = line.exec(groups)?.[1];
    if (path === undefined) continue;
    for (let folder = join(top, path); folder.startsWith(top); folder = dirname(folder)) {
      const most = Number(read(join(folder, limit)) ?? Number.NaN);
      const used = Number(read(join(folder, usage)) ?? Number.NaN);
      if (!Number.isFinite(most) || !Number.isFinite(used)) continue;
      const statistics = read(join(folder, 'memory.stat')) ?? '';
      const droppable = [...statistics.matchAll(cache)].reduce((sum, [, n]) => sum + Number(n), 0);
      yield Math.max(0, most - Math.max(0, used - droppable));
    }
  }
}

/**
 * @param root where /proc and /sys are; for tests
 * @returns undefined where the system does not tell
 */
export function availableMemory(root = '/'): AvailableMemory | undefined {
  const line = /^MemAvailable: +(\d+) kB$/m.exec(read(join(root, 'proc/meminfo')) ?? '');
  let least: AvailableMemory | undefined;
  if (line !== null) least = { bytes: Number(line[1]) * 1024, source: 'MemAvailable' };
  for (const bytes of groupAllowances(root)) {
    if (least === undefined || bytes < least.bytes)
      least = { bytes, source: "control group's limit" };
  }
  return least;
}
