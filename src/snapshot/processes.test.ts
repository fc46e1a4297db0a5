/** One snapshot serves several processes at once: its pages are in memory once (proc(5), smaps). */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { GuestCode } from '../accel/conformance/testing/guest.js';
import { VmProcess } from '../fleet/process.js';
import { Vm } from '../vm/vm.js';

const PROCESSES = 3;
/** Bytes that the guest fills, and reads again as a clone. */
const FILLED = 4 << 20;

const folder = mkdtempSync(join(tmpdir(), 'pando-processes-'));
after(() => rmSync(folder, { recursive: true }));
process.env.PANDO_STORE = join(folder, 'store');

/** Fills memory, waits for a byte, reads what it has filled, says so, and sleeps for good. */
function guest(): Uint8Array {
  const code = new GuestCode().stack();
  code
    .mov('edi', 0x400000)
    .mov('ecx', FILLED / 4)
    .mov('eax', 0xa5a5a5a5)
    .emit('f3ab');
  code.print('ready\n').label('poll').emit('66bafd03 ec a801').j('z', 'poll').emit('66baf803 ec');
  code
    .mov('esi', 0x400000)
    .mov('ecx', FILLED / 4)
    .emit('f3ad')
    .print('read\n');
  return code.label('end').emit('fa f4').jmp('end').image();
}

/** Resolves once a machine has printed a text. */
function printed(vm: Pick<Vm, 'onConsole'>, text: string): Promise<void> {
  let seen = '';
  return new Promise((resolve) => {
    vm.onConsole((bytes) => {
      seen += Buffer.from(bytes).toString('latin1');
      if (seen.includes(text)) resolve();
    });
  });
}

/** Bytes of a file that a process has mapped: what is in memory, and its part of what it shares. */
function mapped(pid: number, name: string): { readonly rss: number; readonly pss: number } {
  let own = false;
  const sum = { rss: 0, pss: 0 };
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'latin1').split('\n')) {
    if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) own = line.endsWith(name);
    const [, field, kilobytes] = /^(Rss|Pss): +(\d+) kB$/.exec(line) ?? [];
    if (!own || field === undefined) continue;
    sum[field === 'Rss' ? 'rss' : 'pss'] += Number(kilobytes) * 1024;
  }
  return sum;
}

test('the pages of a snapshot are in memory once, however many processes map them', async () => {
  const kernel = join(folder, 'guest.elf');
  writeFileSync(kernel, guest());
  const vm = await Vm.create({ kernel, memory: 64 << 20, accelerator: 'wasm' });
  const ready = printed(vm, 'ready');
  vm.start();
  await ready;
  const { pages } = await vm.snapshot({ name: 'shared' });
  await vm.close();
  assert.ok(pages.size >= FILLED);
  const processes = Array.from({ length: PROCESSES }, () => new VmProcess({ vms: 'one' }));
  try {
    await Promise.all(
      processes.map(async (host) => {
        const clone = await host.createVm({ snapshot: 'shared' });
        const read = printed(clone, 'read');
        clone.start();
        await clone.writeConsole(new Uint8Array(1));
        await read;
      }),
    );
    const found = processes.map(({ pid }) => mapped(pid, pages.sha256));
    for (const { rss } of found) assert.ok(rss >= FILLED, `${rss} bytes`);
    const together = found.reduce((sum, { pss }) => sum + pss, 0);
    assert.ok(together < 1.2 * pages.size, `${together} bytes, the file has ${pages.size}`);
  } finally {
    for (const host of processes) host.kill();
    await Promise.all(processes.map(({ ended }) => ended));
  }
});
