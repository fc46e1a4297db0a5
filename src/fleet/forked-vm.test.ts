import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ForkedVm } from './forked-vm.js';
import { FAKE_STATE } from './testing/fake-vm.js';

const ENTRY = new URL('./testing/fake-vm-process.js', import.meta.url);
const make = (commandLine: string, index = 0) =>
  ForkedVm.create(index, { kernel: '', commandLine, load: 'read' }, ENTRY);

async function gone(pid: number): Promise<boolean> {
  for (let tries = 0; tries < 100 && existsSync(`/proc/${pid}`); tries++) await sleep(50);
  return !existsSync(`/proc/${pid}`);
}

test('console, stages, observations and the exit pass between the processes', async () => {
  const machine = await make('echo stage:linux_start_kernel say:hello wait:50');
  let text = '';
  const heard = new Promise<void>((resolve) => {
    machine.onConsole((bytes) => {
      text += new TextDecoder().decode(bytes);
      if (text.endsWith('back')) resolve();
      if (text === 'hello') machine.writeConsole(new TextEncoder().encode('back'));
    });
  });
  assert.notEqual(machine.pid, process.pid);
  assert.equal(machine.load, 'read');
  machine.start();
  await heard;
  assert.equal(text, 'helloback');
  assert.deepEqual(
    machine.stages.map(({ name }) => name),
    ['linux_start_kernel'],
  );
  const seen = await machine.observe();
  assert.equal(seen.instructions, 12345n);
  assert.equal(seen.vcpu.rip, FAKE_STATE.rip);
  assert.equal(seen.memory.parts[0]?.shared, 60);
  await machine.stop();
  assert.deepEqual(await machine.exited, { kind: 'stopped' });
  assert.equal((await machine.observe()).instructions, 12345n, 'an ended VM can be observed');
  await machine.close();
  assert.ok(await gone(machine.pid));
});

test('an error of creation keeps its code and remedy, and leaves no process', async () => {
  await assert.rejects(make('refuse'), { code: 'FAKE_REFUSED', remedy: 'change the script' });
});

test('a process that dies ends its own VM and no other', async () => {
  const [dying, other] = await Promise.all([make('crash', 3), make('wait:20 say:on poweroff', 4)]);
  dying.start();
  const exit = await dying.exited;
  assert.ok(exit.kind === 'error');
  assert.equal(exit.code, 'VM_PROCESS_DIED');
  assert.match(exit.message, /process \d+ of VM 3 ended by SIGKILL/);
  await assert.rejects(dying.observe(), { code: 'VM_PROCESS_DIED' });
  other.start();
  assert.deepEqual(await other.exited, { kind: 'poweroff' });
  await Promise.all([dying.close(), other.close()]);
});

test('a VM process ends with its parent, even when that is killed', async () => {
  const program = fileURLToPath(new URL('./testing/orphan-parent.js', import.meta.url));
  const parent = spawn(process.execPath, [program], { stdio: ['ignore', 'pipe', 'inherit'] });
  const pid = await new Promise<number>((resolve) => {
    parent.stdout.once('data', (text: Buffer) => resolve(Number(text.toString())));
  });
  assert.ok(existsSync(`/proc/${pid}`));
  parent.kill('SIGKILL');
  assert.ok(await gone(pid));
});
