import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { availableMemory } from './memory-available.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-memory-'));
after(() => rmSync(folder, { recursive: true }));

let roots = 0;

/** A root folder with these files. */
function root(files: Readonly<Record<string, string>>): string {
  const path = join(folder, String(roots++));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(path, name)), { recursive: true });
    writeFileSync(join(path, name), text);
  }
  return path;
}

const MEMINFO = { 'proc/meminfo': 'MemTotal:  9000 kB\nMemAvailable:    8000 kB\n' };

test('without control groups it is what the system has', () => {
  assert.deepEqual(availableMemory(root(MEMINFO)), {
    bytes: 8000 * 1024,
    source: 'MemAvailable',
  });
  assert.equal(availableMemory(root({})), undefined);
  assert.ok((availableMemory()?.bytes ?? 0) > 0);
});

test('version 2: the tightest group up to the root, files that can be dropped left out', () => {
  const path = root({
    ...MEMINFO,
    'proc/self/cgroup': '0::/a/b\n',
    'sys/fs/cgroup/a/b/memory.max': 'max\n',
    'sys/fs/cgroup/a/b/memory.current': '1000\n',
    'sys/fs/cgroup/a/memory.max': '6000000\n',
    'sys/fs/cgroup/a/memory.current': '5000000\n',
    'sys/fs/cgroup/a/memory.stat': 'anon 1\ninactive_file 100000\nactive_file 200000\nfile 7\n',
  });
  assert.deepEqual(availableMemory(path), { bytes: 1300000, source: "control group's limit" });
});

test('version 1: the controller of that name, as a container sees it', () => {
  const path = root({
    ...MEMINFO,
    'proc/self/cgroup': '5:cpu,cpuacct:/x\n4:memory:/docker/123\n0::/x\n',
    'sys/fs/cgroup/memory/memory.limit_in_bytes': '3000000\n',
    'sys/fs/cgroup/memory/memory.usage_in_bytes': '2000000\n',
    'sys/fs/cgroup/memory/memory.stat': 'total_inactive_file 500000\ntotal_active_file 0\n',
  });
  assert.equal(availableMemory(path)?.bytes, 1500000);
});
