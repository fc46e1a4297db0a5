/** Debian's cloud kernel boots to a shell that a person can use. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { bootToShell, debianImage, trimmed } from './testing/boot.js';

const CTRL_C = '\x03';
const ARROW_UP = '\x1b[A';

const image = await debianImage();

test('a shell on the serial console, as a person uses it', async (t) => {
  const { vm, console } = await bootToShell(image);
  await using _ = vm;

  await t.test('the shell begins in /root, and says so; nothing before it has failed', () => {
    assert.match(console.text, /\r\n\/root # /);
    assert.doesNotMatch(console.text, /^(stty|mount|ip|sh): /m);
  });

  await t.test('the stages were seen in their order', () => {
    assert.deepEqual(
      vm.stages.map(({ name }) => name),
      ['vmm_init_end', 'linux_start_kernel', 'linux_start_user'],
    );
    const times = vm.stages.map(({ ms }) => ms);
    assert.deepEqual(
      times,
      times.toSorted((a, b) => a - b),
    );
    assert.equal(vm.stages[2]?.source, 'port 0xf4 value 7');
  });

  await t.test('commands run and give their status', async () => {
    assert.equal(await console.run('uname -sm'), 'Linux x86_64\n');
    assert.equal(await console.run('cat /proc/cmdline'), `${image.commandLine}\n`);
    await console.run('false', { status: 1 });
    assert.equal(await console.run('expr 6 \\* 7 | sha256sum | cut -c1-8'), '084c799c\n');
  });

  await t.test('the clocks go at the pace of the host', async () => {
    /** A number that a command prints, and the seconds of a host clock between which it was read. */
    const read = async (command: string, clock: () => number) => {
      const earliest = clock() / 1000;
      const value = Number(await console.run(command));
      return { value, earliest, latest: clock() / 1000 };
    };
    const date = await read('date +%s', Date.now);
    // The guest's clock has begun with a whole second of the RTC, shows whole seconds, and stands in a trim.
    assert.ok(
      date.value >= date.earliest - 3 && date.value <= date.latest + 1,
      `date ${date.value}`,
    );
    // The guest's clocks stand in a trim.
    await trimmed(vm);
    const uptime = () => read('cut -d" " -f1 /proc/uptime', () => performance.now());
    const before = await uptime();
    await console.run('sleep 3');
    const after = await uptime();
    // However busy the host: the guest's time between its two looks is no shorter than the host's
    // between the inner two of the four, and no longer than that between the outer two.
    const passed = after.value - before.value;
    const shortest = after.earliest - before.latest;
    const longest = after.latest - before.earliest;
    assert.ok(shortest > 2.9, `sleep 3 came back after ${shortest} s`);
    assert.ok(passed >= shortest - 0.05 && passed <= longest + 0.05, `${passed} s in ${longest} s`);
  });

  await t.test('arrow up brings the last line back', async () => {
    console.send('echo first-$((40+2))\n');
    await console.expect('first-42\r\n');
    await console.prompt();
    console.send(ARROW_UP);
    await console.expect('echo first-$((40+2))');
    console.send('-again\n');
    await console.expect('first-42-again\r\n');
    await console.prompt();
  });

  await t.test('Ctrl-C ends what runs, and the shell goes on', async () => {
    console.send('sleep 100\n');
    await console.expect('sleep 100\r\n');
    // The shell has to have made way for its child before the character means a signal.
    await sleep(500);
    console.send(CTRL_C);
    await console.prompt();
    assert.equal(await console.run('ps | grep -c "[s]leep 100"', { status: 1 }), '0\n');
  });

  await t.test('top shows processes, once and until q', async () => {
    const once = await console.run('top -b -n1');
    assert.match(once, /^Mem: \d+K used, \d+K free/);
    assert.match(once, /^ +1 +0 \S+ .* init$/m);
    console.send('top\n');
    await console.expect(/Mem: \d+K used/);
    await console.expect(/PID +PPID USER/);
    console.send('q');
    await console.prompt();
  });

  await t.test('10 KB that are pasted arrive whole', async () => {
    const lines = Array.from({ length: 160 }, (_, n) => `${n}`.padStart(4, '0') + 'x'.repeat(59));
    const text = `${lines.join('\n')}\n`;
    assert.equal(text.length, 10_240);
    console.send('stty -echo; cat > /tmp/pasted; stty echo\n');
    await console.expect('stty echo\r\n');
    await sleep(500);
    console.send(`${text}\x04`);
    await console.prompt();
    assert.equal(await console.run('wc -c < /tmp/pasted'), '10240\n');
    assert.equal(await console.run('cat /tmp/pasted'), text);
  });

  await t.test('a paused VM says nothing, and goes on where it was', async () => {
    // No prompt stays the last that the console shows.
    console.send('(while sleep 0.1; do echo tick; done) &\n');
    await console.expect(/tick\r\ntick\r\n/);
    await vm.pause();
    const at = console.text.length;
    const instructions = vm.instructions();
    await sleep(700);
    assert.equal(console.text.length, at);
    assert.equal(vm.instructions(), instructions);
    vm.start();
    await console.expect(/tick\r\ntick\r\n/);
    console.send('kill $!\n');
    await console.run('echo still here');
  });

  await t.test('poweroff -f ends the VM', async () => {
    console.send('poweroff -f\n');
    assert.deepEqual(await vm.exited, { kind: 'poweroff' });
  });
});
