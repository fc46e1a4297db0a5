/** What the host raises while the guest sleeps: the power button and the NMI button. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PM1A_EVENT_PORT, SCI_IRQ } from '../../arch/layout.js';
import { COUNT, GuestCode } from './testing/guest.js';
import { ACCELERATORS, absence, Subject } from './testing/subject.js';

const PWRBTN = 0x0100;

for (const accelerator of ACCELERATORS) {
  describe(`buttons on ${accelerator}`, { skip: absence(accelerator) }, () => {
    test('the power button wakes a guest by the system control interrupt', async () => {
      const code = new GuestCode().stack().interruptTable().gate(0x29, 'sci');
      code.pic(~((1 << SCI_IRQ) | (1 << 2))).out(PM1A_EVENT_PORT + 2, PWRBTN, 2);
      code.print('asleep\n').sleepUntilCount(1).print('pressed\n').powerOff();
      code.countingHandler('sci', 'pic', () => {
        code.out(PM1A_EVENT_PORT, PWRBTN, 2).out(0xa0, 0x20);
      });
      await using subject = await Subject.create(accelerator, code);
      subject.vm.pressPowerButton();
      subject.vm.start();
      await subject.until('asleep\n');
      subject.vm.pressPowerButton();
      assert.deepEqual(await subject.vm.exited, { kind: 'poweroff' });
      assert.equal(subject.text, 'asleep\npressed\n');
      subject.vm.pressPowerButton();
    });

    test('the NMI button wakes a guest that has its interrupts off', async () => {
      const code = new GuestCode().stack().interruptTable().gate(2, 'nmi').pic(0xffff);
      code.print('asleep\n').label('again').emit('f4').compare(COUNT, 1).j('b', 'again');
      code.print('raised\n').powerOff();
      code.countingHandler('nmi', 'pic');
      await using subject = await Subject.create(accelerator, code);
      subject.vm.start();
      await subject.until('asleep\n');
      subject.vm.injectNmi();
      assert.deepEqual(await subject.vm.exited, { kind: 'poweroff' });
      assert.equal(subject.text, 'asleep\nraised\n');
    });
  });
}
