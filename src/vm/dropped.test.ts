/** VMs that are dropped without `close`, and signals. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { deaf } from '../accel/conformance/testing/console-guests.js';
import { GuestCode } from '../accel/conformance/testing/guest.js';
import { held } from '../accel/conformance/testing/held.js';
import { ACCELERATORS, absence, Subject } from '../accel/conformance/testing/subject.js';
import { collectedUntil, collectGarbage } from '../platform/testing/garbage.js';
import type { VmExit } from './types.js';

for (const accelerator of ACCELERATORS) {
  describe(`dropped VMs on ${accelerator}`, { skip: absence(accelerator) }, () => {
    test('they are announced with the place of their creation, and give back what they hold', async () => {
      const warnings: NodeJS.ErrnoException[] = [];
      const hear = (warning: Error): void => void warnings.push(warning);
      process.on('warning', hear);
      try {
        const before = held();
        const makeAndDrop = async (): Promise<void> => {
          const paused = await Subject.create(accelerator, deaf());
          paused.vm.start();
          await paused.until('ready\n');
          await paused.vm.pause();
          const ended = await Subject.create(accelerator, new GuestCode().stack().powerOff());
          ended.vm.start();
          await ended.vm.exited;
          await Subject.create(accelerator, deaf());
        };
        await makeAndDrop();
        await collectedUntil(() => warnings.length >= 3);
        for (const warning of warnings) {
          assert.equal(warning.code, 'VM_NOT_CLOSED');
          assert.match(warning.message, /VM \d+, made at .*subject\.js/);
        }
        await collectedUntil(() => held().descriptors <= before.descriptors);
        assert.equal(held().ofMachines, before.ofMachines);
      } finally {
        process.off('warning', hear);
      }
    });

    test('one that runs is kept until it has ended', async () => {
      let heard = '';
      const make = async (): Promise<{ exited: Promise<VmExit> }> => {
        const code = new GuestCode().stack().mov('ecx', 300_000_000).label('turn').emit('ffc9');
        code.j('nz', 'turn').print('done').powerOff();
        const { vm } = await Subject.create(accelerator, code, { listen: false });
        vm.onConsole((bytes) => {
          heard += Buffer.from(bytes).toString('latin1');
        });
        vm.start();
        return { exited: vm.exited };
      };
      const { exited } = await make();
      let ended = false;
      void exited.then(() => {
        ended = true;
      });
      while (!ended) {
        collectGarbage();
        await sleep(20);
      }
      assert.deepEqual(await exited, { kind: 'poweroff' });
      assert.equal(heard, 'done');
    });

    test('a signal refuses a VM that is not made yet, and stops one that is', async () => {
      const reason = new Error('enough');
      await assert.rejects(
        Subject.create(accelerator, deaf(), { signal: AbortSignal.abort(reason) }),
        reason,
      );
      const controller = new AbortController();
      const options = { signal: controller.signal };
      await using subject = await Subject.create(accelerator, deaf(), options);
      const { vm } = subject;
      vm.start();
      await subject.until('ready\n');
      controller.abort();
      assert.deepEqual(await vm.exited, { kind: 'stopped' });
    });
  });
}
