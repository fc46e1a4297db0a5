/** Main commands, with an agent on the host. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Body } from './fields.js';
import type { HostedSandbox } from './hosted-sandbox.js';
import { RequestError } from './http.js';
import { MainCommand, type MainOptions, mainField } from './main-command.js';
import { MAIN_TAG } from './options.js';
import { HostSandbox } from './testing/host-sandbox.js';

const place = ({ processes, users }: HostedSandbox) => ({ processes, users, env: {}, cwd: '/' });
const options = (script: string, more: Partial<MainOptions> = {}): MainOptions => ({
  command: ['/bin/sh', '-c', script],
  stdin: false,
  terminal: false,
  remove: false,
  ...more,
});

async function printed({ log }: MainCommand): Promise<string> {
  let text = '';
  for await (const { stream, data } of log.read()) text += `${stream} ${Buffer.from(data)}`;
  return text;
}

test('its output and its status stay when it has ended; clients find it while it runs', async () => {
  const guest = new HostSandbox();
  const hosted = guest.hosted();
  const script = 'read a; echo $a; read a; echo $a >&2; kill -9 $$';
  const main = await MainCommand.start(options(script, { stdin: true }), place(hosted));
  assert.equal(main.status, undefined);
  assert.equal(main.answer.endedAt, undefined);
  const process = hosted.processes.get(MAIN_TAG);
  const listener = process.listen();
  await process.write(Buffer.from('one\n'));
  assert.deepEqual(await listener.next(60_000), { kind: 'stdout', data: Buffer.from('one\n') });
  process.leave(listener);
  await process.write(Buffer.from('two\n'));
  await main.ended;
  assert.equal(main.status, 137);
  assert.equal(main.answer.status, 137);
  assert.equal(await printed(main), 'stdout one\nstderr two\n');
  await guest.close();
});

test('it has a terminal with a name, and one that cannot be started is refused', async () => {
  const guest = new HostSandbox();
  const at = place(guest.hosted());
  const script = 'test -t 0 && test -t 1 && echo $TERM; exit 4';
  const main = await MainCommand.start(options(script, { terminal: true }), at);
  await main.ended;
  assert.equal(await printed(main), 'stdout xterm\r\n');
  assert.equal(main.status, 4);
  const missing = { ...options(''), command: ['/no/such/program'] };
  await assert.rejects(MainCommand.start(missing, at), { code: 'GUEST_ENOENT' });
  await guest.close();
});

test('a sandbox that ends before it leaves it without a status', async () => {
  const guest = new HostSandbox();
  const main = await MainCommand.start(options('sleep 1000'), place(guest.hosted()));
  await guest.close();
  await main.ended;
  assert.equal(main.status, undefined);
});

test('what a request says of it is checked', () => {
  assert.equal(mainField({}), undefined);
  assert.deepEqual(mainField({ main: { command: ['a', 'b'], stdin: true } }), {
    command: ['a', 'b'],
    stdin: true,
    terminal: false,
    remove: false,
  });
  const wrong = [5, [], {}, { command: [] }, { command: [''] }, { command: 'a' }];
  for (const main of [...wrong, { command: ['a'], remove: 'yes' }])
    assert.throws(() => mainField({ main } as Body), RequestError, JSON.stringify(main));
});
