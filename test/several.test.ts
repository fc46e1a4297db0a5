/** VMs beside one another: in one process, each with its own console; in processes, on one copy. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { RunReport } from '#dist/cli/report.js';
import { bootToShell, debianImage } from './testing/boot.js';

const PANDO = fileURLToPath(new URL('../../bin/pando.js', import.meta.url));
const VMS = 4;

const image = await debianImage();

test('two VMs of one process hear and say nothing of each other', async () => {
  const both = await Promise.all([bootToShell(image), bootToShell(image)]);
  await using first = both[0].vm;
  await using second = both[1].vm;
  const [one, two] = both.map(({ console }) => console) as [
    (typeof both)[0]['console'],
    (typeof both)[0]['console'],
  ];
  assert.notEqual(first.id, second.id);
  await Promise.all([
    one.run('hostname elm; for n in $(seq 100); do echo "[$n of $(hostname)]"; done'),
    two.run('hostname oak; for n in $(seq 100); do echo "[$n of $(hostname)]"; done'),
  ]);
  assert.doesNotMatch(one.text, /\boak\b/);
  assert.doesNotMatch(two.text, /\belm\b/);
  assert.match(one.text, /\[100 of elm\]/);
  assert.match(two.text, /\[100 of oak\]/);
  await first.close();
  assert.deepEqual(await first.exited, { kind: 'stopped' });
  assert.equal(await two.run('hostname'), 'oak\n');
});

const PAGE_SIZE = 4096;

test('four processes have the untouched pages of kernel and initrd in memory once', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'pando-sharing-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, 'report.json');
  const options = ['run', '--count', `${VMS}`, '--isolate', 'process', '--serial', 'null'];
  const wait = ['--until', 'Pando: user space is up', '--timeout', '300', '--report', file];
  const append = ['--append', `${image.commandLine} retain_initrd`, '--memory', '256M'];
  const child = spawn(process.execPath, [PANDO, ...options, ...wait, ...append], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let messages = '';
  child.stderr.setEncoding('utf8').on('data', (piece: string) => {
    messages += piece;
  });
  const status = await new Promise((resolve) => child.on('close', resolve));
  assert.equal(status, 0, messages);
  const report = JSON.parse(await readFile(file, 'utf8')) as RunReport;
  assert.equal(report.processes.length, VMS);
  assert.equal(new Set(report.vms.map(({ pid }) => pid)).size, VMS);

  for (const { memory, stages } of report.vms) {
    assert.equal(stages.at(-1)?.name, 'linux_start_user');
    const initrd = memory?.parts.find(({ part }) => part === 'initrd');
    assert.ok(initrd !== undefined && initrd.total > 400);
    assert.equal(initrd.own, 0, 'retain_initrd leaves every initrd page shared');
  }
  const byFile = new Map<string, { pss: number; rss: number }>();
  for (const { images } of report.processes) {
    assert.equal(images.length, 2);
    for (const { path, rss, pss, anonymous } of images) {
      const sum = byFile.get(path) ?? { pss: 0, rss: 0 };
      // A copied page counts in full in both figures and says nothing about sharing.
      assert.ok(rss - anonymous > 1 << 20, `${path}: ${rss - anonymous} bytes of it are mapped in`);
      byFile.set(path, { pss: sum.pss + pss - anonymous, rss: sum.rss + rss - anonymous });
    }
  }
  // PSS counts a page once, whoever maps it; RSS counts it in each process. How many pages around a
  // touched one are mapped in differs from process to process (huge pages of the page cache).
  for (const [path, { pss, rss }] of byFile) {
    assert.ok(
      rss > (VMS / 2) * pss,
      `${path}: ${pss} bytes in memory are ${rss} in ${VMS} processes`,
    );
    const whole = Math.ceil((await stat(path)).size / PAGE_SIZE) * PAGE_SIZE;
    assert.ok(pss <= whole, `${path}: ${pss} bytes in memory are more than its pages once`);
  }
});
