import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { QemuPeer, qemuArguments, qemuVersion } from './qemu-peer.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-peer-'));
after(() => rmSync(folder, { recursive: true }));

const OPTIONS = {
  kernel: '/k',
  initrd: '/i',
  commandLine: 'console=ttyS0 x',
  memory: 2 ** 29,
  accelerator: 'tcg',
  stagePort: 0xf4,
  userSpaceValue: 7,
  until: 'linux_start_user',
} as const;

/** A program that does what QEMU does as far as the peer sees. */
function program(name: string, script: string): string {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  return path;
}

test('the peer boots the same files with the same command line', () => {
  const words = qemuArguments(OPTIONS);
  const argumentOf = (option: string): string | undefined => words[words.indexOf(option) + 1];
  assert.equal(argumentOf('-kernel'), '/k');
  assert.equal(argumentOf('-initrd'), '/i');
  assert.equal(argumentOf('-append'), 'console=ttyS0 x');
  assert.equal(argumentOf('-m'), '512M');
  assert.match(argumentOf('-machine') ?? '', /accel=tcg/);
  assert.match(words.join(' '), /isa-debugcon,iobase=0xf4/);
  assert.equal(qemuArguments({ ...OPTIONS, initrd: undefined }).includes('-initrd'), false);
});

test('stages are seen on the pipes, in their order', async () => {
  const script = `echo 'vm_state_notify running 1 reason 9 (running)' >&2
sleep 0.5; echo Linux; sleep 0.5; printf '\\006\\007' >&3; exec sleep 20`;
  const peer = new QemuPeer(OPTIONS, program('boots', script));
  await peer.reached;
  assert.deepEqual(
    peer.stages.map(({ name }) => name),
    ['vmm_init_end', 'linux_start_kernel', 'linux_start_user'],
  );
  const times = peer.stages.map(({ ms }) => ms);
  assert.deepEqual(
    times,
    [...times].sort((a, b) => a - b),
  );
  await peer.close();
});

test('an earlier stage can be the last one that is waited for', async () => {
  const script = "echo 'vm_state_notify running 1 reason 9 (running)' >&2; exec sleep 20";
  const peer = new QemuPeer({ ...OPTIONS, until: 'vmm_init_end' }, program('halts', script));
  await peer.reached;
  assert.deepEqual(
    peer.stages.map(({ name }) => name),
    ['vmm_init_end'],
  );
  await peer.close();
});

test('a peer that fails says why', async () => {
  const ended = new QemuPeer(OPTIONS, program('ends', 'echo no such device >&2; exit 3'));
  await assert.rejects(ended.reached, {
    code: 'QEMU_ENDED',
    message: /status 3: no such device/,
  });
  const panicked = new QemuPeer(
    OPTIONS,
    program('panics', "echo 'Kernel panic - not syncing: timer'; exec sleep 20"),
  );
  await assert.rejects(panicked.reached, { code: 'QEMU_GUEST_PANIC', message: /timer/ });
  await panicked.close();
  const missing = new QemuPeer(OPTIONS, join(folder, 'none'));
  await assert.rejects(missing.reached, { code: 'QEMU_MISSING' });
  assert.equal(qemuVersion(join(folder, 'none')), undefined);
});
