/** Sandboxes of several owners, with a guest on the host in place of VMs. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import type { Sandbox } from '../sandbox/sandbox.js';
import { RequestError } from './http.js';
import { DEFAULT_LIMITS, type LogEvent } from './options.js';
import { SandboxTable } from './sandbox-table.js';
import { HostSandbox } from './testing/host-sandbox.js';

const guest = new HostSandbox();
after(() => guest.close());

/** Closed ones are counted, and the guest itself lives on. */
let closed = 0;
function copy(exited: Promise<unknown> = new Promise(() => undefined)): Sandbox {
  const fake = {
    files: guest.sandbox.files,
    exec: guest.sandbox.exec,
    logs: () => [],
    vm: { exited },
    end: { message: 'its guest has ended' },
    fork: async (count: number) =>
      Array.from({ length: count }, (_, i) =>
        i === 1
          ? { status: 'rejected', reason: new Error('no room') }
          : { status: 'fulfilled', value: copy() },
      ),
    close: async () => {
      closed += 1;
    },
    pause: async () => undefined,
    resume: async () => undefined,
  };
  return fake as unknown as Sandbox;
}

const options = (owner: string) => ({
  owner,
  template: 'base',
  memory: 100,
  metadata: new Map<string, string>(),
  env: {},
  onTimeout: 'kill' as const,
  autoResume: false,
});

const refused = (status: number) => (error: unknown) =>
  error instanceof RequestError && error.status === status;

test("a sandbox is its owner's alone; limits hold for all together", async () => {
  const limits = { ...DEFAULT_LIMITS, sandboxes: 4, memory: 400 };
  const table = new SandboxTable(
    limits,
    () => undefined,
    async () => copy(),
  );
  const first = await table.create({}, options('one'), 60);
  assert.equal(table.get(first.id, 'one'), first);
  assert.throws(() => table.get(first.id, 'two'), refused(404));
  assert.throws(() => table.get('none', 'one'), refused(404));

  const results = await table.fork(first, 3, 60);
  assert.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
  assert.equal(table.size, 3);
  await assert.rejects(table.fork(first, 2, 60), refused(429));
  const together = [table.create({}, options('two'), 60), table.create({}, options('two'), 60)];
  const made = await Promise.allSettled(together);
  assert.deepEqual(made.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);

  await first.pause();
  await assert.rejects(first.pause(), refused(409));
  await first.resume(60);
  assert.equal(first.state, 'running');
  await table.kill(first);
  assert.throws(() => table.get(first.id, 'one'), refused(404));
  await table.close();
  assert.equal(closed, 4);
  await assert.rejects(table.create({}, options('one'), 60), refused(503));
});

test('a sandbox whose time is over ends, or is paused', async () => {
  const table = new SandboxTable(
    DEFAULT_LIMITS,
    () => undefined,
    async () => copy(),
  );
  const paused = await table.create({}, { ...options('one'), onTimeout: 'pause' }, 0);
  const ended = await table.create({}, options('one'), 0);
  while (paused.state !== 'paused' || table.find(ended.id) !== undefined) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(table.find(paused.id), paused);
  assert.equal(table.counts.expired, 2);
  await table.close();
});

test('a sandbox that ends by itself is gone, counted once, told, and its place is free', async () => {
  let end: (exit: { kind: string }) => void = () => undefined;
  const exited = new Promise<{ kind: string }>((resolve) => {
    end = resolve;
  });
  const events: LogEvent[] = [];
  const table = new SandboxTable(
    { ...DEFAULT_LIMITS, sandboxes: 1 },
    (event) => events.push(event),
    async () => copy(exited),
  );
  const hosted = await table.create({}, options('one'), 60);
  await assert.rejects(table.create({}, options('one'), 60), refused(429));
  const before = closed;
  end({ kind: 'reboot' });
  while (closed === before) await new Promise((resolve) => setImmediate(resolve));
  assert.throws(() => table.get(hosted.id, 'one'), refused(404));
  await table.kill(hosted);
  assert.deepEqual(table.counts, { created: 1, failed: 0, killed: 0, expired: 0, crashed: 1 });
  const { id: sandbox } = hosted;
  const message = 'its guest has ended';
  assert.deepEqual(events.at(-1), { event: 'sandbox-ended', sandbox, exit: 'reboot', message });
  const next = await table.create({}, options('one'), 60);
  assert.notEqual(next.id, hosted.id);
  await table.close();
});

test('a sandbox ends with its main command: a record of it stays until it is removed, or none', async () => {
  const table = new SandboxTable(
    DEFAULT_LIMITS,
    () => undefined,
    async () => copy(),
  );
  const main = (script: string, remove = false) => ({
    command: ['/bin/sh', '-c', script],
    stdin: true,
    terminal: false,
    remove,
  });
  const ended = async (id: string): Promise<void> => {
    while (table.find(id) !== undefined) await new Promise((resolve) => setImmediate(resolve));
  };
  const before = closed;
  const kept = await table.create({}, { ...options('one'), cwd: '/' }, 60);
  await table.run(kept, main('read a; exit 3'));
  assert.equal(table.record(kept.id, 'one'), kept);
  kept.processes.list()[0]?.closeInput();
  await ended(kept.id);
  assert.equal(closed, before + 1);
  const { state, main: record } = table.record(kept.id, 'one');
  assert.deepEqual([state, record?.status], ['exited', 3]);
  assert.throws(() => table.get(kept.id, 'one'), refused(409));
  assert.throws(() => table.get(kept.id, 'two'), refused(404));
  assert.deepEqual([table.size, table.memory, table.isEmpty], [0, 0, false]);

  const removed = await table.create({}, { ...options('one'), cwd: '/' }, 60);
  await table.run(removed, main('exit 3', true));
  await ended(removed.id);
  assert.deepEqual(
    table.records().map(({ id }) => id),
    [kept.id],
  );

  const failed = await table.create({}, { ...options('one'), cwd: '/' }, 60);
  await assert.rejects(table.run(failed, { ...main(''), command: ['/no/such/program'] }));
  assert.equal(table.find(failed.id), undefined);
  assert.equal(closed, before + 3);
  await table.kill(table.record(kept.id, 'one'));
  assert.throws(() => table.record(kept.id, 'one'), refused(404));
  assert.equal(table.isEmpty, true);
});
