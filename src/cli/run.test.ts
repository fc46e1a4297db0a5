/** `pando run` as a user starts it: guests of a few instructions, and Debian where it has been pulled. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { USER_SPACE_LINE } from '../image/init-script.js';
import { ImageStore } from '../image/store.js';
import { ENTRY } from '../loader/testing/elf-builder.js';
import type { RunReport } from './report.js';
import { guestKernel, STAY, say } from './testing/guest-kernel.js';

const LAUNCHER = fileURLToPath(new URL('../../bin/pando.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'pando-run-'));
after(() => rmSync(folder, { recursive: true }));

/** UD2: without an IDT its exception becomes a triple fault. */
const FAULT = Uint8Array.of(0x0f, 0x0b);

/** mov dx, cf9h; mov al, 6; out dx, al; hlt: a reset. */
const RESET = Uint8Array.of(0x66, 0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee, 0xf4);

/** Writes a kernel of these instructions and returns its path. */
function guest(name: string, ...code: Uint8Array[]): string {
  return guestKernel(join(folder, name), ...code);
}

function run(...words: string[]) {
  return spawnSync(process.execPath, [LAUNCHER, 'run', ...words], { encoding: 'utf8' });
}

function readReport(path: string): RunReport {
  return JSON.parse(readFileSync(path, 'utf8')) as RunReport;
}

const saying = guest('saying', say('a guest is up\r\n'), STAY);

for (const isolate of ['shared', 'process'] as const) {
  test(`three VMs run until their consoles have printed a text, isolate ${isolate}`, () => {
    const report = join(folder, `${isolate}.json`);
    const words = ['--count', '3', '--isolate', isolate, '--until', 'is up', '--timeout', '60'];
    const result = run('--kernel', saying, '--memory', '64M', ...words, '--report', report);
    assert.equal(result.status, 0, result.stderr);
    const lines = result.stdout.split('\n').filter(Boolean).sort();
    assert.deepEqual(
      lines,
      [0, 1, 2].map((id) => `[${id}] a guest is up`),
    );
    const { accelerator, load, vms, processes } = readReport(report);
    assert.deepEqual([accelerator, load, vms.length], ['wasm', 'map', 3]);
    assert.equal(processes.length, isolate === 'process' ? 3 : 1);
    assert.deepEqual(
      [...new Set(vms.map(({ pid }) => pid))],
      processes.map(({ pid }) => pid),
    );
    for (const { stages, instructions, exit, memory } of vms) {
      assert.equal(stages[0]?.name, 'vmm_init_end');
      assert.ok(instructions > 15, `${instructions} instructions`);
      assert.equal(exit, null);
      assert.deepEqual(memory?.fallbacks, []);
    }
    for (const { images } of processes) assert.equal(images[0]?.path, saying);
  });
}

test('a guest that resets ends with --no-reboot, with status 0, wherever it runs', () => {
  const kernel = guest('reset', say('once\r\n'), RESET);
  for (const isolate of ['shared', 'process']) {
    const report = join(folder, `reset-${isolate}.json`);
    const words = ['--no-reboot', '--isolate', isolate, '--timeout', '60', '--report', report];
    const result = run('--kernel', kernel, '--memory', '64M', ...words);
    assert.deepEqual([result.status, result.stdout], [0, 'once\r\n'], result.stderr);
    assert.deepEqual(readReport(report).vms[0]?.exit, { kind: 'reboot' });
  }
});

test('a triple fault gives 4, and names RIP, registers and the last console lines', () => {
  const before = say('dying\r\n');
  const { status, stderr } = run('--kernel', guest('dying', before, FAULT), '--timeout', '60');
  assert.equal(status, 4, stderr);
  const rip = `0x${(ENTRY + before.length).toString(16).padStart(16, '0')}`;
  assert.ok(stderr.startsWith(`GUEST_TRIPLE_FAULT: VM 0: triple fault at RIP ${rip}\n`), stderr);
  assert.match(stderr, /RAX=0x[0-9a-f]{14}0a RCX=/);
  assert.match(stderr, /last console lines:\n {4}dying\n/);
});

test('a time-out gives 3, and says where the VM was', () => {
  const { status, stderr } = run('--kernel', saying, '--until', 'never', '--timeout', '1');
  assert.equal(status, 3);
  assert.match(
    stderr,
    /^TIMEOUT: 1 s have passed, 1 of 1 VMs still run\nVM 0: running, linux_start_kernel, RIP 0x000000000100007[0-9a-f], /,
  );
  assert.match(stderr, /a guest is up/);
});

test('SIGTERM ends the VMs, and leaves no process behind', async () => {
  const words = [
    'run',
    '--kernel',
    saying,
    '--isolate',
    'process',
    '--count',
    '2',
    '--timeout',
    '60',
  ];
  const child = spawn(process.execPath, [LAUNCHER, ...words], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  await new Promise<void>((resolve) => {
    child.stdout.setEncoding('utf8').on('data', (more: string) => {
      text += more;
      if (text.includes('[0] a') && text.includes('[1] a')) resolve();
    });
  });
  const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8');
  const pids = children.trim().split(' ').map(Number);
  assert.equal(pids.length, 2);
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  assert.equal(await ended, 143);
  for (const pid of pids) assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
});

test('a kernel that is truncated while it runs does not reach its VMs', async () => {
  const path = guest('truncated', say('up\n'), STAY);
  const report = join(folder, 'truncated.json');
  const words = ['run', '--kernel', path, '--count', '2', '--report', report];
  const child = spawn(process.execPath, [LAUNCHER, ...words], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  await new Promise((resolve) => child.stdout.once('data', resolve));
  truncateSync(path, 0);
  await sleep(500);
  child.kill('SIGTERM');
  assert.equal(await ended, 143);
  assert.deepEqual(
    readReport(report).vms.map(({ exit }) => exit),
    [null, null],
  );
});

const pulled = (await new ImageStore().names()).includes('debian');

test('Debian boots in a process each, and the processes hold one copy of the initrd', {
  skip: pulled ? false : 'no image debian: pando image pull debian',
}, () => {
  const report = join(folder, 'debian.json');
  const words = ['--count', '2', '--isolate', 'process', '--append', 'retain_initrd'];
  const limits = ['--until', USER_SPACE_LINE, '--timeout', '240', '--serial', 'null'];
  const result = run(...words, ...limits, '--report', report);
  assert.equal(result.status, 0, result.stderr);
  const { vms, processes } = readReport(report);
  for (const { stages, memory } of vms) {
    assert.deepEqual(
      stages.map(({ name }) => name),
      ['vmm_init_end', 'linux_start_kernel', 'linux_start_user'],
    );
    const initrd = memory?.parts.find(({ part }) => part === 'initrd');
    assert.ok(initrd && initrd.total > 0);
    assert.equal(initrd.own, 0);
  }
  for (const { images } of processes) {
    const [kernel, initrd] = images;
    assert.ok(kernel && initrd && initrd.rss > 0);
    assert.ok(initrd.pss <= initrd.rss / 2 && initrd.uss === 0);
    assert.ok(kernel.pss < kernel.rss, 'pages of the kernel that no guest wrote are shared');
  }
});
