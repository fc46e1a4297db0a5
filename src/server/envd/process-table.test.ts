/** Processes of clients, with an agent on the host. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { RequestError } from '../http.js';
import { HostSandbox } from '../testing/host-sandbox.js';
import { type HostedProcess, type ProcessHappening, ProcessTable } from './process-table.js';
import type { Subscription } from './subscription.js';

const guest = new HostSandbox();
after(() => guest.close());
const IDLE = 60_000;

const start = (script: string, stdin = false, endsWithClients = false) => ({
  command: '/bin/sh',
  arguments: ['-c', script],
  env: { B: 'own' },
  cwd: undefined,
  user: '',
  tag: undefined,
  stdin,
  terminal: undefined,
  timeout: undefined,
  endsWithClients,
});

async function all(listener: Subscription<ProcessHappening>): Promise<string[]> {
  const seen: string[] = [];
  for (;;) {
    const happening = await listener.next(IDLE);
    if (happening === undefined || happening === 'idle') return seen;
    seen.push(
      happening.kind === 'end'
        ? `end ${happening.exitCode ?? happening.signal}`
        : `${happening.kind} ${happening.data}`,
    );
  }
}

const table = (limit = 8) => new ProcessTable(guest.sandbox, limit, { A: 'all', B: 'all' });

test('a client hears all, from the beginning to the end', async () => {
  const processes = table();
  const process = await processes.start(start('echo $A $B; exit 3'));
  assert.equal(processes.get(process.pid), process);
  assert.deepEqual(await all(process.first), ['stdout all own\n', 'end 3']);
  await process.ended;
  assert.throws(() => processes.get(process.pid), RequestError);
});

test('one that ends with its clients goes on until the last of them goes', async () => {
  const process = await table().start(start('cat & cat', true, true));
  const second = process.listen();
  process.leave(process.first);
  await process.write(Buffer.from('heard\n'));
  assert.deepEqual(await second.next(IDLE), { kind: 'stdout', data: Buffer.from('heard\n') });
  process.leave(second);
  await process.ended;
});

test('a process outlives its client; another client hears it from then on', async () => {
  const process = await table().start(
    start('read a; echo $a; read a; echo $a >&2; kill -9 $$', true),
  );
  process.leave(process.first);
  assert.deepEqual(await all(process.first), []);
  await process.write(Buffer.from('one\n'));
  const second = process.listen();
  await process.write(Buffer.from('two\n'));
  const heard = await all(second);
  assert.deepEqual(heard.slice(-2), ['stderr two\n', 'end SIGKILL']);
});

test('a slow client stops the process, and one that goes lets it go on', async () => {
  const process: HostedProcess = await table().start(
    start('yes | head -c 10000000; echo over >&2'),
  );
  const slow = process.listen();
  process.leave(process.first);
  assert.notEqual(await slow.next(IDLE), undefined);
  process.leave(slow);
  await process.ended;
});

test('processes are counted, also while they start', async () => {
  const processes = table(1);
  const first = processes.start(start('read a', true));
  await assert.rejects(
    processes.start(start('true')),
    (error) => error instanceof RequestError && error.status === 429,
  );
  const process = await first;
  process.closeInput();
  await process.ended;
  const next = await processes.start(start('true'));
  await assert.rejects(next.write(Buffer.from('x')), RequestError, 'it has no input');
  await next.ended;
});

test('a guest that goes ends its processes with an error, and nothing else', async () => {
  const lost = new HostSandbox();
  const processes = new ProcessTable(lost.sandbox, 8, {});
  const process = await processes.start(start('sleep 1000'));
  await lost.close();
  await process.ended;
  await assert.rejects(all(process.first), { code: 'AGENT_LOST' });
  assert.deepEqual(processes.list(), []);
});
