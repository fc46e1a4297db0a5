import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Makers } from '../fleet/fleet.js';
import { FAKE_STATE, FakeVm } from '../fleet/testing/fake-vm.js';
import { runSession, type SessionOptions } from './session.js';
import type { InputStream } from './terminal/console-input.js';
import type { Streams } from './terminal/standard-streams.js';
import { memoryOutput } from './testing/memory-output.js';

class Input extends EventEmitter implements InputStream {
  resume(): void {}
  pause(): void {}
}

/** Makers and streams that record, and a kernel path whose mappings can be looked for. */
function fixture() {
  const vms: FakeVm[] = [];
  let imagesShared = 0;
  let imagesClosed = 0;
  const makers: Makers = {
    shareImages: () => {
      imagesShared++;
      return {
        kernel: process.execPath,
        initrd: undefined,
        modules: undefined,
        close: () => {
          imagesClosed++;
        },
      };
    },
    createVm: async (options) => {
      const vm = await FakeVm.create(options);
      vms.push(vm);
      return vm;
    },
    vmProcess: new URL('../fleet/testing/fake-vm-process.js', import.meta.url),
  };
  const input = new Input();
  const out = memoryOutput();
  const err = memoryOutput();
  const streams: Streams = { input, out: out.output, err: err.output };
  const run = (commandLine: string, options: Partial<SessionOptions> = {}) =>
    runSession(
      {
        vm: { kernel: 'vmlinux', commandLine },
        count: 1,
        isolate: 'shared',
        serial: { kind: 'null' },
        until: undefined,
        timeoutMs: 20_000,
        measure: false,
        settleMs: 0,
        lastingProgress: false,
        ...options,
      },
      streams,
      makers,
    );
  return {
    run,
    input,
    port: out.port,
    output: () => out.port.text,
    allClosed: () =>
      vms.every((vm) => vm.closed === 1) && imagesShared === imagesClosed && imagesClosed > 0,
  };
}

test('a guest that powers off gives 0 and no complaint', async () => {
  const { run, allClosed } = fixture();
  const { status, outcome, complaints } = await run('say:bye poweroff');
  assert.deepEqual([status, outcome.kind, complaints], [0, 'ended', []]);
  assert.ok(allClosed());
});

test('--until is met when every console has printed the text, cut anywhere', async () => {
  const { run, allClosed } = fixture();
  const options = { count: 3, until: 'user space', measure: true };
  const { status, outcome, report } = await run('stage:linux_start_user say:us/er_spa/ce', options);
  assert.deepEqual([status, outcome.kind], [0, 'until']);
  assert.deepEqual(
    report?.vms.map(({ id, pid, exit, instructions }) => [id, pid, exit, instructions]),
    [0, 1, 2].map((id) => [id, process.pid, null, 12345]),
  );
  assert.equal(report?.vms[0]?.stages[0]?.name, 'linux_start_user');
  assert.equal(report?.vms[0]?.memory?.parts[0]?.shared, 60);
  const [own, ...others] = report?.processes ?? [];
  assert.equal(others.length, 0);
  assert.ok(own && own.pid === process.pid && own.rss >= own.pss && own.pss >= own.uss);
  assert.ok((own?.images[0]?.rss ?? 0) > 0, 'the mapped kernel file is accounted for');
  assert.equal(own?.images[0]?.path, 'vmlinux');
  assert.equal(report?.supervisor, undefined);
  assert.doesNotThrow(() => JSON.stringify(report));
  assert.ok(allClosed());
});

test('with a process each, every VM has a pid and figures of its own', async () => {
  const { run } = fixture();
  const options = { count: 2, until: 'up', isolate: 'process', measure: true } as const;
  const { status, report } = await run('wait:20 say:u/p', options);
  assert.equal(status, 0);
  const pids = report?.vms.map(({ pid }) => pid) ?? [];
  assert.equal(new Set([...pids, process.pid]).size, 3);
  assert.deepEqual(
    report?.processes.map(({ pid }) => pid),
    pids,
  );
  assert.ok(report?.processes.every(({ uss, rss }) => uss > 0 && rss > uss));
  assert.equal(report?.supervisor?.pid, process.pid);
});

test('a time-out gives 3 and says what each VM was doing', async () => {
  const { run, allClosed } = fixture();
  const options = { count: 2, until: 'never', timeoutMs: 60 };
  const { status, complaints } = await run('stage:linux_start_kernel say:stuck_here\\n', options);
  assert.equal(status, 3);
  const text = complaints.join('\n');
  assert.match(text, /^TIMEOUT: 0\.06 s have passed, 2 of 2 VMs still run/);
  assert.match(text, /VM 1: running, linux_start_kernel, RIP 0xffffffff81000123, 12345 instr/);
  assert.equal(text.match(/stuck here/g)?.length, 2);
  assert.ok(allClosed());
});

test('a triple fault gives 4 with RIP, registers and the last console lines', async () => {
  const { run, allClosed } = fixture();
  const { status, complaints, report } = await run('say:oops\\n triple', { measure: true });
  assert.equal(status, 4);
  const text = complaints.join('\n');
  assert.match(text, /^GUEST_TRIPLE_FAULT: VM 0: triple fault at RIP 0xffffffff81000123\n/);
  assert.match(text, /RBX=0x0000000000000003/);
  assert.match(text, /CR3=0x0000000000001000/);
  assert.match(text, /last console lines:\n {4}oops$/);
  const exit = report?.vms[0]?.exit;
  assert.ok(exit?.kind === 'shutdown');
  assert.equal(BigInt(exit.registers.cr0 ?? 0), FAKE_STATE.cr0);
  assert.ok(allClosed());
});

test('a VM that ends before the text makes the others not wait, and gives 1', async () => {
  const { run } = fixture();
  const { status, complaints } = await run('say:bye poweroff', { until: 'never' });
  assert.equal(status, 1);
  assert.match(complaints[0] ?? '', /^UNTIL_NOT_SEEN: VM 0 ended \(poweroff\)/);
});

test("the monitor's own failure is told with its code, and gives 1", async () => {
  const { run } = fixture();
  const { status, complaints } = await run('fail');
  assert.equal(status, 1);
  assert.equal(complaints[0], 'FAKE_FAILURE: VM 0: the script says so');
});

test('creation that fails closes what was made', async () => {
  const { run, allClosed } = fixture();
  await assert.rejects(run('refuse', { count: 2 }), { code: 'FAKE_REFUSED' });
  assert.ok(allClosed());
});

test('several consoles on standard output are told apart by a prefix on each line', async () => {
  const { run, output } = fixture();
  await run('say:one\\ntw/o\\nrest poweroff', { count: 2, serial: { kind: 'stdio' } });
  const lines = output().split('\n').filter(Boolean).sort();
  assert.deepEqual(lines, ['[0] one', '[0] rest', '[0] two', '[1] one', '[1] rest', '[1] two']);
});

test("one console takes standard input and gives the guest's bytes as they are", async () => {
  const { run, input, output } = fixture();
  const ended = run('say:a/b\\n echo say:typed? wait:300000', { serial: { kind: 'stdio' } });
  const typing = setInterval(() => {
    if (output() === 'ab\ntyped?') input.emit('data', Buffer.from('typed'));
    else if (output().endsWith('typed')) process.kill(process.pid, 'SIGTERM');
  }, 1);
  await ended;
  clearInterval(typing);
  assert.equal(output(), 'ab\ntyped?typed');
});

test('consoles go to files by number', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'pando-session-'));
  try {
    const { run } = fixture();
    const serial = { kind: 'file', pattern: join(folder, 'vm-%d.log') } as const;
    await run('say:hello/\\n poweroff', { count: 2, serial });
    for (const id of [0, 1]) {
      assert.equal(readFileSync(join(folder, `vm-${id}.log`), 'utf8'), 'hello\n');
    }
    const missing = { kind: 'file', pattern: join(folder, 'none', '%d') } as const;
    const refused = fixture();
    await assert.rejects(refused.run('poweroff', { serial: missing }), {
      code: 'SERIAL_FILE_UNWRITABLE',
    });
    assert.ok(refused.allClosed());
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a standard output without room ends the VMs, and is told with a code', async () => {
  const { run, port, allClosed } = fixture();
  port.error = 'ENOSPC';
  await assert.rejects(run('say:lost wait:10000', { serial: { kind: 'stdio' } }), {
    code: 'OUTPUT_UNWRITABLE',
    message: 'memory cannot be written: ENOSPC',
  });
  assert.ok(allClosed());
});

test('a reader that goes away ends the VMs as SIGPIPE does', async () => {
  const { run, port, allClosed } = fixture();
  port.error = 'EPIPE';
  const { status, outcome } = await run('say:lost wait:10000', { serial: { kind: 'stdio' } });
  assert.deepEqual([status, outcome], [141, { kind: 'interrupted', by: 'SIGPIPE' }]);
  assert.ok(allClosed());
});

test('a console file without room ends the VMs, however late it is found', async () => {
  const { run, allClosed } = fixture();
  const serial = { kind: 'file', pattern: '/dev/full' } as const;
  for (const script of ['say:lost wait:10000', 'say:lost poweroff']) {
    await assert.rejects(run(script, { serial }), { code: 'SERIAL_FILE_UNWRITABLE' });
  }
  assert.ok(allClosed());
});

test('SIGTERM ends the VMs and gives 143', async () => {
  const { run, allClosed } = fixture();
  const ended = run('wait:10000');
  while (process.listenerCount('SIGTERM') === 0) await new Promise(setImmediate);
  process.kill(process.pid, 'SIGTERM');
  const { status, outcome } = await ended;
  assert.deepEqual([status, outcome], [143, { kind: 'interrupted', by: 'SIGTERM' }]);
  assert.ok(allClosed());
  assert.equal(process.listenerCount('SIGTERM'), 0);
});
