/** The program of a process of VMs, with guests of a few instructions. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { guestKernel, STAY, say } from '../cli/testing/guest-kernel.js';
import { VmProcess } from './process.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-vm-process-'));
after(() => rmSync(folder, { recursive: true }));
const kernel = guestKernel(join(folder, 'saying'), say('a guest is up\r\n'), STAY);
const options = { kernel, accelerator: 'wasm', memory: 64 << 20 } as const;

/** Boots a VM and waits until its console has printed its line. */
async function boot(host: VmProcess) {
  const vm = await host.createVm(options);
  let text = '';
  const up = new Promise<void>((resolve) => {
    vm.onConsole((bytes) => {
      text += Buffer.from(bytes).toString('latin1');
      if (text === 'a guest is up\r\n') resolve();
    });
  });
  vm.start();
  await up;
  return vm;
}

for (const vms of ['one', 'many'] as const) {
  test(`a process for ${vms === 'one' ? 'one VM' : 'many VMs'} runs them`, async () => {
    process.env.PANDO_STORE = join(folder, 'store');
    const host = new VmProcess({ vms });
    const running = [await boot(host), ...(vms === 'many' ? [await boot(host)] : [])];
    for (const vm of running) {
      const { instructions, vcpu, memory } = await vm.observe();
      assert.ok(instructions > 15n);
      assert.ok(vcpu.halted);
      assert.deepEqual(memory.fallbacks, []);
      assert.ok((vm.stages[0]?.ms ?? 0) + vm.timeOrigin > vm.begun);
    }
    await running[0]!.pause();
    await running[0]!.close();
    assert.deepEqual(await running[0]!.exited, { kind: 'stopped' });
    await host.close();
    for (const vm of running) assert.equal((await vm.exited).kind, 'stopped');
  });
}
