/** The console of a VM in a process of its own: credit goes over the channel, in both directions. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { counting, echoing } from '../accel/conformance/testing/console-guests.js';
import type { GuestCode } from '../accel/conformance/testing/guest.js';
import { VmProcess } from './process.js';
import type { RemoteVm } from './remote-vm.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-remote-console-'));
after(() => rmSync(folder, { recursive: true }));

function make(host: VmProcess, code: GuestCode): Promise<RemoteVm> {
  const kernel = join(folder, 'guest.elf');
  writeFileSync(kernel, code.image());
  return host.createVm({ kernel, memory: 64 << 20, accelerator: 'wasm', tier: '0' });
}

test('a reader that takes nothing holds the guest in its process, and then gets all of it', async () => {
  await using host = new VmProcess({ vms: 'one' });
  const vm = await make(host, counting(2 ** 16));
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  let calls = 0;
  let length = 0;
  vm.onConsole(async (bytes) => {
    calls += 1;
    await opened;
    for (const byte of bytes) {
      assert.equal(byte, length & 0xff);
      length += 1;
    }
  });
  vm.start();
  while (calls === 0) await sleep(5);
  await sleep(500);
  assert.equal(calls, 1);
  open();
  assert.deepEqual(await vm.exited, { kind: 'poweroff' });
  await vm.consoleDrained();
  assert.equal(length, 2 ** 20);
});

test('its stream is read to the end, and input waits for the guest', async () => {
  await using host = new VmProcess({ vms: 'one' });
  const vm = await make(host, echoing());
  const stream = vm.consoleStream();
  const sent = Buffer.alloc(30_000, 'abcdefghijklmnopqrstuvwxyz\n');
  const taken = vm.writeConsole(sent);
  sent.fill(0);
  vm.start();
  assert.equal(await taken, true);
  stream.write(Buffer.of(0));
  let text = '';
  for await (const bytes of stream) text += (bytes as Buffer).toString('latin1');
  assert.equal(text.length, 'ready\n'.length + sent.length);
  assert.equal(await vm.writeConsole('late'), false);
});
