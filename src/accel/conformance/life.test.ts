/** Reset, pause, stop, and what KVM cannot run, whichever accelerator runs the machine. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PM_TIMER_PORT } from '../../arch/layout.js';
import { COUNT, GuestCode, SERIAL } from './testing/guest.js';
import { ACCELERATORS, absence, run, Subject, value } from './testing/subject.js';

/** Prints without end, some 100 characters a second at most. */
function ticking(): GuestCode {
  const code = new GuestCode().stack().interruptTable().gate(0x20, 'irq').pic(0xfffe);
  code.out(0x43, 0x34).out(0x40, 0).out(0x40, 0x2e).label('again').storeValue(COUNT, 0);
  code.sleepUntilCount(1).emit('b02e').call('putc').jmp('again');
  return code.countingHandler('irq', 'pic');
}

for (const accelerator of ACCELERATORS) {
  const absent = absence(accelerator);

  describe(`the life of a machine on ${accelerator}`, { skip: absent }, () => {
    test('a reset starts it anew, with its image as in the file', async () => {
      const code = new GuestCode().stack().increment(COUNT).increment(0x1400000);
      code.showMemory('ram', COUNT).showMemory('image', 0x1400000);
      code.out(SERIAL + 4, 0x03).print('which?\n');
      code
        .label('poll')
        .in(SERIAL + 5)
        .emit('a801')
        .j('z', 'poll')
        .in(SERIAL)
        .emit('3c72');
      code.j('nz', 'off').out(0xcf9, 6).emit('f4 ebfd').label('off').powerOff();
      await using subject = await Subject.create(accelerator, code);
      subject.vm.start();
      await subject.until('which?\n');
      const first = subject.text;
      subject.vm.writeConsole(Buffer.from('r'));
      await subject.until(`${first}${first}`);
      subject.vm.writeConsole(Buffer.from('p'));
      assert.deepEqual(await subject.vm.exited, { kind: 'poweroff' });
      assert.equal(subject.text, `${first}${first}`);
      assert.match(first, /^ram=00000001\nimage=[0-9A-F]{8}\nwhich\?\n$/i);
    });

    test('a reset is its end with reboot: false, which its copies keep', async () => {
      const code = new GuestCode().stack().print('once\n');
      code
        .label('poll')
        .in(SERIAL + 5)
        .emit('a801')
        .j('z', 'poll');
      code.out(0xcf9, 6).emit('f4 ebfd');
      await using subject = await Subject.create(accelerator, code, { reboot: false });
      const { vm } = subject;
      vm.start();
      await subject.until('once\n');
      const [copy] = await vm.clone();
      assert.ok(copy?.status === 'fulfilled');
      await using clone = copy.value;
      clone.start();
      for (const each of [vm, clone]) {
        each.writeConsole('r');
        assert.deepEqual(await each.exited, { kind: 'reboot' });
        assert.deepEqual(each.exit, { kind: 'reboot' });
        await assert.rejects(each.clone(), { code: 'VM_ENDED', message: /reset the machine/ });
      }
      assert.equal(subject.text, 'once\n');
    });

    test('a pause holds it, and it goes on from there', async () => {
      await using subject = await Subject.create(accelerator, ticking());
      subject.vm.start();
      await subject.until('...');
      await subject.vm.pause();
      const state = subject.vm.vcpuState();
      const length = subject.text.length;
      await sleep(100);
      assert.equal(subject.text.length, length);
      assert.deepEqual(subject.vm.vcpuState(), state);
      subject.vm.start();
      await subject.until('.'.repeat(length + 3));
      await subject.vm.stop();
      assert.deepEqual(await subject.vm.exited, { kind: 'stopped' });
    });

    test('its clocks stand still in a pause, but the real-time clock', async () => {
      const code = new GuestCode()
        .stack()
        .out(SERIAL + 4, 0x03)
        .label('look');
      // Minutes and seconds, in BCD, and the power management timer.
      code.out(0x70, 2).in(0x71).show('minutes').out(0x70, 0).in(0x71).show('seconds');
      code
        .in(PM_TIMER_PORT, 4)
        .show('timer')
        .label('poll')
        .in(SERIAL + 5);
      code.emit('a801').j('z', 'poll').in(SERIAL).jmp('look');
      await using subject = await Subject.create(accelerator, code);
      const { vm } = subject;
      const look = async (number: number): Promise<{ clock: number; timer: number }> => {
        while (subject.text.split('timer=').length <= number || !subject.text.endsWith('\n')) {
          await sleep(5);
        }
        const lines = subject.text.trimEnd().split('\n').slice(-3);
        const [minutes = 0, seconds = 0, timer = 0] = lines.map((line) => {
          const digits = line.slice(line.indexOf('=') + 1);
          return Number.parseInt(digits, line.startsWith('timer') ? 16 : 10);
        });
        return { clock: minutes * 60 + seconds, timer: timer / 3_579_545 };
      };
      vm.start();
      const before = await look(1);
      await vm.pause();
      await sleep(4000);
      vm.start();
      vm.writeConsole('.');
      const after = await look(2);
      const clock = (after.clock - before.clock + 3600) % 3600;
      const timer = after.timer - before.timer;
      assert.ok(clock - timer > 1.9, `${clock} s of the real-time clock, ${timer} s of the timer`);
    });

    test('start, pause and stop in quick succession leave nothing hanging', async () => {
      await using subject = await Subject.create(accelerator, ticking());
      for (let i = 0; i < 20; i += 1) {
        subject.vm.start();
        if (i % 2 === 0) subject.vm.vcpuState();
        await subject.vm.pause();
      }
      subject.vm.start();
      await subject.vm.stop();
      assert.deepEqual(await subject.vm.exited, { kind: 'stopped' });
    });

    test('registers can be read while it runs', async () => {
      const code = new GuestCode().stack().print('up\n').mov('esi', 0x5eed).label('spin');
      code.jmp('spin');
      const end = BigInt(code.here);
      await using subject = await Subject.create(accelerator, code);
      subject.vm.start();
      await subject.until('up\n');
      await sleep(50);
      const state = subject.vm.vcpuState();
      // An accelerator may give the start of the block that it is in.
      assert.ok(state.rip >= BigInt(code.origin) && state.rip < end, `${state.rip}`);
      assert.equal(state.gpr[6], 0x5eedn);
    });

    test('many of them run at once and end', async () => {
      const texts = await Promise.all(
        [1, 2, 3, 4].map(async (number) => {
          const code = new GuestCode().stack().print(`guest ${number}\n`).powerOff();
          return (await run(accelerator, code)).lines.join();
        }),
      );
      assert.deepEqual(texts, ['guest 1', 'guest 2', 'guest 3', 'guest 4']);
    });
  });
}

test('kvm pauses all processors, reads each of them, and goes on', async (t) => {
  const absent = absence('kvm');
  if (absent !== undefined) {
    t.skip(absent);
    return;
  }
  await using subject = await Subject.create('kvm', ticking(), { cpus: 2 });
  subject.vm.start();
  await subject.until('...');
  assert.notEqual(subject.vm.vcpuState(0).rip, 0n, 'while it runs');
  await subject.vm.pause();
  const [first, second] = [subject.vm.vcpuState(0), subject.vm.vcpuState(1)];
  const length = subject.text.length;
  await sleep(100);
  assert.deepEqual([subject.vm.vcpuState(0), subject.vm.vcpuState(1)], [first, second]);
  assert.equal(second.rip, 0xfff0n, 'the second one waits where a reset put it');
  assert.throws(() => subject.vm.vcpuState(2), { code: 'VCPU_UNKNOWN' });
  subject.vm.start();
  await subject.until('.'.repeat(length + 3));
  await subject.vm.close();
  assert.throws(() => subject.vm.vcpuState(0), { code: 'VM_CLOSED' });
});

test('kvm shows the guest the CPU model that was asked for', async (t) => {
  const absent = absence('kvm');
  if (absent !== undefined) {
    t.skip(absent);
    return;
  }
  const CX16 = 1 << 13;
  const leaf1 = async (cpu: string): Promise<number> => {
    const code = new GuestCode().stack().mov('eax', 1).mov('ecx', 0).emit('0fa2 89c8').show('ecx');
    return value(await run('kvm', code.powerOff(), { cpu }), 'ecx');
  };
  const host = await leaf1('host');
  if ((host & CX16) === 0) t.diagnostic('this processor has no cx16');
  assert.equal((await leaf1('host,-cx16')) & CX16, 0);
  assert.equal((await leaf1('v1')) & CX16, 0);
  assert.equal((await leaf1('v2')) & CX16, host & CX16);
  await assert.rejects(leaf1('v5'), { code: 'CPU_MODEL_UNKNOWN' });
});

test('wasm shows the guest the CPU model that was asked for', async () => {
  const words = async (cpu?: string): Promise<[features: number, extended: number]> => {
    const code = new GuestCode().stack();
    for (const [leaf, name] of [
      [1, 'ecx'],
      [0x80000001, 'edx'],
    ] as const) {
      code.mov('eax', leaf).mov('ecx', 0).emit('0fa2 89c8').show(name);
    }
    const output = await run('wasm', code.powerOff(), cpu === undefined ? {} : { cpu });
    return [value(output, 'ecx'), value(output, 'edx')];
  };
  const [V1, V2, LAHF] = [0x00802000, 0x00980201, 1];
  for (const cpu of ['v2', 'max', undefined]) {
    const [features, extended] = await words(cpu);
    assert.deepEqual([features & (V1 | V2), extended & LAHF], [V1 | V2, LAHF], cpu);
  }
  const [features, extended] = await words('v1');
  assert.deepEqual([features & (V1 | V2), extended & LAHF], [V1, 0]);
  await assert.rejects(words('v3'), { code: 'VM_CPU_MODEL_UNSUPPORTED' });
});

test('kvm ends a guest that it cannot run with registers and the bytes at RIP', async (t) => {
  const absent = absence('kvm');
  if (absent !== undefined) {
    t.skip(absent);
    return;
  }
  // KVM emulates no instructions of an unmapped physical address.
  const code = new GuestCode().stack().mov('ebx', 0x77).mov('eax', 0xd0000000).emit('ffe0');
  const { exit } = await run('kvm', code);
  assert.ok(exit.kind === 'error', exit.kind);
  assert.match(exit.code, /^KVM_(EMULATION_FAILED|INTERNAL_ERROR)$/);
  assert.match(exit.message, /rip=d0000000 .* rbx=77 .*bytes at RIP: /);
  assert.match(exit.remedy ?? '', /--accel wasm/);
});
