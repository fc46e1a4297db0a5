/** Guests that do their worst to keep the thread: they can be ended, and others get their turns. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { GuestCode } from './testing/guest.js';
import { ACCELERATORS, absence, Subject } from './testing/subject.js';

/** One string operation with a count of 4 G, of memory where none is, or of ports. */
const ENDLESS: ReadonlyArray<readonly [string, string]> = [
  ['rep lodsb', 'f3ac'],
  ['repe scasb', 'f3ae'],
  ['repe cmpsb', 'f3a6'],
  ['rep movsb', 'f3a4'],
  ['rep stosb', 'f3aa'],
  ['rep insb', 'f36c'],
  ['rep outsb', 'f36e'],
];

function endless(operation: string): GuestCode {
  const code = new GuestCode().stack().print('up\n').mov('esi', 0xc0000000).mov('edi', 0xc0000000);
  return code.mov('edx', 0x80).mov('eax', 0xff).mov('ecx', -1).emit(operation).powerOff();
}

for (const accelerator of ACCELERATORS) {
  const absent = absence(accelerator);

  describe(`an endless instruction on ${accelerator}`, { skip: absent }, () => {
    for (const [name, operation] of ENDLESS) {
      test(`${name} ends with its machine`, async () => {
        await using subject = await Subject.create(accelerator, endless(operation));
        subject.vm.start();
        await subject.until('up\n');
        await subject.vm.stop();
        assert.deepEqual(await subject.vm.exited, { kind: 'stopped' });
      });
    }

    test('leaves other machines their turns', async () => {
      await using first = await Subject.create(accelerator, endless('f3ac'));
      await using second = await Subject.create(accelerator, endless('f36e'));
      const code = new GuestCode().stack().print('third\n').powerOff();
      await using third = await Subject.create(accelerator, code);
      for (const { vm } of [first, second]) vm.start();
      await first.until('up\n');
      await second.until('up\n');
      third.vm.start();
      await third.until('third\n');
      assert.deepEqual(await third.vm.exited, { kind: 'poweroff' });
    });
  });
}
