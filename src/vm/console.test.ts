/** The serial console between a guest and its readers and writers, slow and fast ones. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { counting, deaf, echoing } from '../accel/conformance/testing/console-guests.js';
import { ACCELERATORS, absence, Subject } from '../accel/conformance/testing/subject.js';
import type { PandoError } from '../error.js';

const MIB = 2 ** 20;
/** How much goes through a console, in MiB, and how long a reader that reads nothing is watched, in seconds. */
const THROUGH = Number(process.env.PANDO_TEST_CONSOLE_MIB ?? 2);
const STALL = Number(process.env.PANDO_TEST_CONSOLE_STALL ?? 1);

/** Checks that bytes count up modulo 256. */
class Sequence {
  length = 0;

  take(bytes: Uint8Array): void {
    for (const byte of bytes) {
      if (byte !== (this.length & 0xff)) assert.fail(`byte ${this.length} is ${byte}`);
      this.length += 1;
    }
  }
}

/** A promise, and what settles it. */
function gate(): { readonly passed: Promise<void>; readonly open: () => void } {
  let open: () => void = () => undefined;
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { passed, open };
}

for (const accelerator of ACCELERATORS) {
  describe(`the console on ${accelerator}`, { skip: absence(accelerator) }, () => {
    test('all that a guest prints arrives, in order, at readers of any speed', async () => {
      const chunks = (THROUGH * MIB) / 16;
      await using subject = await Subject.create(accelerator, counting(chunks), { listen: false });
      const [fast, slow] = [new Sequence(), new Sequence()];
      const { vm } = subject;
      vm.onConsole((bytes) => fast.take(bytes));
      vm.onConsole(async (bytes) => {
        if (slow.length % 7 === 0) await sleep(1);
        slow.take(bytes);
      });
      vm.start();
      assert.deepEqual(await vm.exited, { kind: 'poweroff' });
      while (slow.length < chunks * 16) await sleep(5);
      assert.equal(fast.length, chunks * 16);
      assert.equal(slow.length, chunks * 16);
    });

    test('a reader that takes nothing holds the guest, and memory does not grow', async () => {
      const options = { listen: false, tier: '0' } as const;
      await using subject = await Subject.create(accelerator, counting(2 ** 24), options);
      const { vm } = subject;
      const sequence = new Sequence();
      const reader = gate();
      let calls = 0;
      vm.onConsole(async (bytes) => {
        calls += 1;
        await reader.passed;
        sequence.take(bytes);
      });
      vm.start();
      while (calls === 0) await sleep(5);
      // Of what would wait here: the threads that start meanwhile have memory of their own.
      const before = process.memoryUsage().arrayBuffers;
      await sleep(STALL * 1000);
      const after = process.memoryUsage().arrayBuffers;
      assert.equal(calls, 1);
      assert.ok(after - before < MIB, `${after - before} bytes more`);
      reader.open();
      while (sequence.length < MIB) await sleep(5);
      await vm.stop();
    });

    test('a reader that leaves holds nobody', async () => {
      await using subject = await Subject.create(accelerator, counting(MIB / 16), {
        listen: false,
      });
      const { vm } = subject;
      const sequence = new Sequence();
      const leave = vm.onConsole(() => new Promise(() => undefined));
      vm.onConsole((bytes) => sequence.take(bytes));
      vm.start();
      while (sequence.length === 0) await sleep(5);
      leave();
      assert.deepEqual(await vm.exited, { kind: 'poweroff' });
      assert.equal(sequence.length, MIB);
    });

    test('as a stream it is read to its end, and written with back-pressure', async () => {
      await using subject = await Subject.create(accelerator, echoing(), { listen: false });
      const { vm } = subject;
      const stream = vm.consoleStream();
      vm.start();
      const sent = Buffer.alloc(100_000, 'abcdefghijklmnopqrstuvwxyz\n');
      const written = (async () => {
        for (let at = 0; at < sent.length; at += 1000) {
          const more = stream.write(sent.subarray(at, at + 1000));
          if (!more) await new Promise((resolve) => stream.once('drain', resolve));
        }
        stream.write(Buffer.from([0]));
      })();
      const got: Buffer[] = [];
      for await (const bytes of stream) got.push(bytes as Buffer);
      await written;
      assert.equal(Buffer.concat(got).toString('latin1'), `ready\n${sent.toString('latin1')}`);
      assert.deepEqual(await vm.exited, { kind: 'poweroff' });
    });

    test('what a caller does with its buffer after a write does not reach the guest', async () => {
      await using subject = await Subject.create(accelerator, echoing());
      const buffer = Buffer.alloc(10_000, 'a');
      const taken = subject.vm.writeConsole(buffer);
      buffer.fill('x');
      subject.vm.start();
      assert.equal(await taken, true);
      await subject.vm.writeConsole('!');
      await subject.until('!');
      assert.equal(subject.text, `ready\n${'a'.repeat(10_000)}!`);
    });

    test('input that a guest does not take is bounded, and what was not refused arrives', async () => {
      await using subject = await Subject.create(accelerator, echoing());
      const { vm } = subject;
      const before = process.memoryUsage();
      let refused = 0;
      const writes = Array.from({ length: 100_000 }, (_, i) =>
        vm.writeConsole(String.fromCharCode(97 + (i % 26))).catch((error: PandoError) => {
          assert.equal(error.code, 'CONSOLE_INPUT_FULL');
          refused += 1;
          return false;
        }),
      );
      await sleep(0);
      assert.ok(refused > 90_000);
      const taken = 100_000 - refused;
      // What the promises themselves take is the test's.
      assert.ok(process.memoryUsage().arrayBuffers - before.arrayBuffers < 8 * MIB);
      vm.start();
      assert.equal((await Promise.all(writes)).filter((whole) => whole).length, taken);
      await vm.writeConsole('!');
      await subject.until('!');
      assert.equal(subject.text.length, 'ready\n!'.length + taken);
      assert.equal(subject.text.slice(6, 32), 'abcdefghijklmnopqrstuvwxyz');
    });

    test('input that waits costs no timers, and ends with the VM', async () => {
      await using subject = await Subject.create(accelerator, deaf());
      const { vm } = subject;
      vm.start();
      await subject.until('ready\n');
      const { setTimeout: real } = globalThis;
      let timers = 0;
      globalThis.setTimeout = ((...all: Parameters<typeof real>) => {
        timers += 1;
        return real(...all);
      }) as typeof real;
      try {
        const writes = Array.from({ length: 20 }, () => vm.writeConsole(Buffer.alloc(1000)));
        await sleep(300);
        assert.ok(timers < 10, `${timers} timers`);
        await vm.stop();
        const taken = await Promise.all(writes);
        assert.deepEqual(new Set(taken.slice(0, 4)), new Set([true]));
        assert.equal(taken.at(-1), false);
        assert.equal(await vm.writeConsole('x'), false);
      } finally {
        globalThis.setTimeout = real;
      }
    });
  });
}
