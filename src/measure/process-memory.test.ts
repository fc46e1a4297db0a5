import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parseSmaps } from '../host/smaps.js';
import { collectGarbage } from '../platform/testing/garbage.js';
import { figuresOf, readMappings, readProcessMemory } from './process-memory.js';

const MIB = 1 << 20;

const SMAPS = `55d0c7a00000-55d0c7a21000 r--p 00001000 fe:00 260689                     /opt/a b/node (deleted)
Size:                132 kB
Rss:                 100 kB
Pss:                  51 kB
Shared_Clean:         80 kB
Private_Clean:        16 kB
Private_Dirty:         4 kB
Anonymous:             4 kB
VmFlags: rd mr mw me sd
7ffd5d5f0000-7ffd5d611000 rw-p 00000000 00:00 0                          [stack]
Rss:                  12 kB
Pss:                  12 kB
Private_Dirty:        12 kB
Anonymous:            12 kB
THPeligible:           0
ProtectionKey:         0
7ffd5d700000-7ffd5d701000 rw-p 00000000 00:00 0 
Rss:                   0 kB
`;

test('mappings are parsed with their figures in bytes', () => {
  const mappings = parseSmaps(SMAPS);
  assert.equal(mappings.length, 3);
  const [file, stack, anonymous] = mappings;
  assert.equal(file?.start, 0x55d0c7a00000);
  assert.equal(file?.end, 0x55d0c7a21000);
  assert.equal(file?.offset, 0x1000);
  assert.equal(file?.device, 'fe:00');
  assert.equal(file?.inode, 260689);
  assert.equal(file?.path, '/opt/a b/node (deleted)');
  assert.equal(file?.figures.get('Rss'), 100 * 1024);
  assert.equal(file?.figures.has('VmFlags'), false);
  assert.equal(stack?.path, '[stack]');
  assert.equal(anonymous?.path, '');
  assert.deepEqual(figuresOf(mappings), {
    rss: 112 * 1024,
    pss: 63 * 1024,
    uss: 32 * 1024,
    privateClean: 16 * 1024,
    privateDirty: 16 * 1024,
    sharedClean: 80 * 1024,
    sharedDirty: 0,
    anonymous: 16 * 1024,
    swap: 0,
  });
});

test('text that is not smaps gives no mappings', () => {
  for (const text of ['', '\n\n', 'Rss: 4 kB\n', 'garbage', '12-34 rw-p zz 00:00 0 x\n'])
    assert.deepEqual(parseSmaps(text), []);
});

test('memory that is written shows in USS and is gone when it is dropped', () => {
  // What is collected meanwhile would be missing.
  collectGarbage();
  const before = readProcessMemory().uss;
  let block: Buffer | undefined = Buffer.alloc(64 * MIB, 1);
  const during = readProcessMemory();
  assert.ok(during.uss - before >= 60 * MIB, `${before} to ${during.uss}`);
  assert.ok(during.rss >= during.pss && during.pss >= during.uss);
  assert.equal(block[5], 1);
  block = undefined;
});

test('another process is measured by its pid, and by the files it maps', async () => {
  const child = spawn('sleep', ['30'], { stdio: 'ignore' });
  try {
    await new Promise((resolve) => child.once('spawn', resolve));
    const pid = child.pid ?? 0;
    const all = readMappings(pid);
    const first = all[0];
    assert.ok(first && all.length > 3);
    const { rss, uss } = readProcessMemory(pid);
    assert.ok(rss > 0 && rss >= uss);
    const named = readMappings(pid, { path: first.path });
    assert.ok(named.length >= 1 && named.every((mapping) => mapping.path === first.path));
    const byInode = readMappings(pid, { inode: first.inode });
    assert.ok(byInode.length >= 1 && byInode.every((mapping) => mapping.inode === first.inode));
    const range = { start: first.end - 1, end: first.end };
    assert.deepEqual(
      readMappings(pid, { ranges: [range] }).map((mapping) => mapping.start),
      [first.start],
    );
    assert.deepEqual(readMappings(pid, { ranges: [] }), []);
  } finally {
    child.kill();
  }
});

test('a process that is gone, or has no memory, is one coded error', () => {
  const { pid } = spawnSync('true');
  assert.throws(() => readProcessMemory(pid), { code: 'MEASURE_NO_PROCESS' });
  assert.throws(() => readMappings(pid), { code: 'MEASURE_NO_PROCESS' });
});

test('a process of another user is refused with a remedy', (t) => {
  const asNobody = process.getuid?.() === 0;
  if (!asNobody && readFileSync('/proc/1/comm', 'latin1') === '')
    return t.skip('no foreign process');
  const url = new URL('./process-memory.js', import.meta.url).href;
  const script = `import(${JSON.stringify(url)}).then(({ readProcessMemory }) => {
    try { readProcessMemory(1); console.log('read'); } catch (e) { console.log(e.code); }
  })`;
  const user = asNobody ? { uid: 65534, gid: 65534 } : {};
  const run = spawnSync(process.execPath, ['-e', script], { ...user, encoding: 'latin1' });
  assert.equal(run.stdout.trim(), 'MEASURE_NOT_PERMITTED', run.stderr);
});
