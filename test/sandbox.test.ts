/** Sandboxes of the Debian image: made from its template, used, forked. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PandoError, Sandbox } from 'pando';
import { Agent } from '#dist/sandbox/agent/agent.js';
import { AGENT_PORT } from '#dist/sandbox/agent/protocol.js';

/** Milliseconds that a request to set the clock is held back. */
const HELD_BACK = 3000;

/** A request that is long on its way sets the clock right all the same. */
async function setClockLate({ vm, files }: Sandbox): Promise<void> {
  const timestamp = vm.timestamp();
  if (timestamp === undefined) return;
  const late = new Agent(async () => {
    await sleep(HELD_BACK);
    return vm.vsock.connect(AGENT_PORT);
  });
  const clock = BigInt(Date.now()) * 1_000_000n;
  assert.ok((await late.system({ clock, timestamp })) >= BigInt(HELD_BACK / 2) * 1_000_000n);
  const before = Date.now();
  await files.writeFile('/tmp/now', '');
  const written = Number((await files.stat('/tmp/now')).modified / 1_000_000n);
  assert.ok(written > before - HELD_BACK / 2, `${before - written} ms behind`);
  assert.ok(written < Date.now() + HELD_BACK / 2, `${written - Date.now()} ms ahead`);
}

/** An HTTP server that has the head of a request before it answers: a client resets a connection that speaks first. */
const ANSWER = `#!/bin/sh
end=$(printf '\\r')
while IFS= read -r line && [ "$line" != "$end" ]; do :; done
printf 'HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\nConnection: close\\r\\n\\r\\nyes'`;

test('a sandbox runs commands, moves files, reaches ports, pauses, forks, ends', async () => {
  await using sandbox = await Sandbox.create({ env: { GREETING: 'hello' }, metadata: { a: 'b' } });
  assert.deepEqual(Sandbox.list(), [sandbox]);
  assert.equal(Sandbox.get(sandbox.id), sandbox);
  // The image's start script is over: it needs nothing any more of what a command may remove.
  assert.equal((await sandbox.exec("tr '\\0' ' ' < /proc/1/cmdline")).stdout.trim(), 'init');

  const { stdout, exitCode } = await sandbox.exec('echo $GREETING; uname -s; exit 3');
  assert.deepEqual([stdout, exitCode], ['hello\nLinux\n', 3]);
  const off = Math.abs(Number((await sandbox.exec('date +%s')).stdout) - Date.now() / 1000);
  assert.ok(off < 60, `the clock is ${off} s off`);
  await setClockLate(sandbox);
  assert.match((await sandbox.exec('hostname')).stdout, /^sandbox-[0-9a-f]{8}\n$/);

  const bytes = randomBytes(3_000_000);
  await sandbox.files.writeFile('/root/data', bytes);
  const sum = await sandbox.exec(['sha256sum', '/root/data']);
  assert.equal(sum.stdout.split(' ')[0], createHash('sha256').update(bytes).digest('hex'));
  assert.ok((await sandbox.files.readFile('/root/data')).equals(bytes));
  const echoed = await sandbox.exec('cat', { stdin: bytes.toString('hex') });
  assert.equal(echoed.stdout, bytes.toString('hex'));

  await sandbox.exec('nc -ll -p 8080 -e /bin/echo served >/dev/null 2>&1 &');
  let answer = '';
  while (answer === '') {
    try {
      for await (const piece of await sandbox.connect(8080)) answer += String(piece);
    } catch (error) {
      if (!(error instanceof PandoError) || error.code !== 'GUEST_ECONNREFUSED') throw error;
    }
  }
  assert.equal(answer, 'served\n');
  const url = await sandbox.url(8081);
  await assert.rejects(fetch(url), 'nobody listens yet');
  await sandbox.files.writeFile('/tmp/answer', ANSWER);
  await sandbox.exec('chmod +x /tmp/answer; nc -ll -p 8081 -e /tmp/answer >/dev/null 2>&1 &');
  const asked = async (): Promise<string> =>
    fetch(url)
      .then((response) => response.text())
      .catch(() => asked());
  assert.equal(await asked(), 'yes');
  assert.equal(await sandbox.url(8081), url);

  await sandbox.pause();
  await sandbox.resume();
  await sandbox.files.writeFile('/tmp/before', 'fork');
  const results = await sandbox.fork(2);
  const forks = results.map((result) => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
  const all = [sandbox, ...forks];
  try {
    const seen = await Promise.all(
      all.map(async (each) => {
        const name = await each.exec('cat /tmp/before; hostname; head -c 16 /dev/urandom | md5sum');
        return name.stdout.split('\n');
      }),
    );
    assert.deepEqual(
      seen.map(([first]) => first?.slice(0, 4)),
      ['fork', 'fork', 'fork'],
    );
    assert.equal(new Set(seen.map((lines) => lines.join())).size, 3, 'each is its own machine');
    await forks[0]!.exec('echo changed > /tmp/before');
    assert.equal(await sandbox.files.readFile('/tmp/before', 'utf8'), 'fork');
  } finally {
    await Promise.all(forks.map((fork) => fork.close()));
  }
});

test('a guest that ends tells all who wait for it, and all who come later', async () => {
  await using sandbox = await Sandbox.create();
  const [off, reset] = (await sandbox.fork(2)).map((result) => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
  const end = async (each: Sandbox, script: string, message: RegExp): Promise<void> => {
    const ended = { code: 'SANDBOX_ENDED', message };
    const url = await each.url(9);
    const changes = await each.files.watch('/root');
    const terminal = each.exec('cat', { pty: true, stdin: 'pipe' });
    const silent = each.exec('sleep 1000');
    await Promise.all([terminal.pid, silent.pid]);
    const asked = [changes.next(), terminal, silent, each.exec(script)];
    await Promise.all(asked.map((one) => assert.rejects(async () => await one, ended)));
    const later: (() => unknown)[] = [
      () => each.exec('true'),
      () => each.exec('true').exited,
      () => each.files.readFile('/etc/passwd'),
      () => each.connect(80),
      () => each.url(80),
      () => each.pause(),
      () => each.resume(),
      () => each.fork(),
      () => each.snapshot('of-the-ended'),
    ];
    for (const ask of later) await assert.rejects(async () => await ask(), ended, String(ask));
    await assert.rejects(each.vm.vsock.connect(1), { code: 'VM_ENDED' });
    await assert.rejects(fetch(url));
    assert.match(each.end?.message ?? '', message);
    assert.equal(Sandbox.list().includes(each), false);
    assert.ok(each.logs().length > 0);
    await each.close();
    await assert.rejects(async () => await each.exec('true'), ended);
  };
  await Promise.all([
    end(sandbox, 'echo c > /proc/sysrq-trigger', /the guest's kernel panicked: sysrq triggered/),
    end(off!, 'poweroff -f', /the guest powered off/),
    end(reset!, 'reboot -f', /the guest reset the machine/),
  ]);
});
