/**
 * Interrupts and time, whichever accelerator runs the machine: 8259A and I/O APIC, interval timer,
 * local APIC timer, HLT and what ends it, start-up of a second processor.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LOCAL_APIC_ADDRESS } from '../../arch/layout.js';
import { PandoError } from '../../error.js';
import { COUNT, DATA, GuestCode, SERIAL } from './testing/guest.js';
import { ACCELERATORS, absence, run, Subject, value } from './testing/subject.js';

const POWEROFF = { kind: 'poweroff' };
const SPURIOUS = LOCAL_APIC_ADDRESS + 0xf0;
const LVT_TIMER = LOCAL_APIC_ADDRESS + 0x320;
const INITIAL_COUNT = LOCAL_APIC_ADDRESS + 0x380;
const CURRENT_COUNT = LOCAL_APIC_ADDRESS + 0x390;
const DIVIDE = LOCAL_APIC_ADDRESS + 0x3e0;
const ICR_LOW = LOCAL_APIC_ADDRESS + 0x300;
const ICR_HIGH = LOCAL_APIC_ADDRESS + 0x310;
const APIC_ID = LOCAL_APIC_ADDRESS + 0x20;
const IOAPIC_SELECT = 0xfec00000;
const IOAPIC_WINDOW = 0xfec00010;
const IA32_TSC_DEADLINE = 0x6e0;

const VECTOR = 0x41;
const SERIAL_IRQ = 4;
const TIMER_PIN = 2;

/** Writes the low half of a redirection entry; the high one is 0, the first processor. */
function redirect(code: GuestCode, pin: number, low: number): void {
  code.storeValue(IOAPIC_SELECT, 0x11 + pin * 2).storeValue(IOAPIC_WINDOW, 0);
  code.storeValue(IOAPIC_SELECT, 0x10 + pin * 2).storeValue(IOAPIC_WINDOW, low);
}

/** The interval timer, mode 2, at about 1 kHz. */
function ticks(code: GuestCode): void {
  code
    .out(0x43, 0x34)
    .out(0x40, 1193 & 0xff)
    .out(0x40, 1193 >>> 8);
}

/** Programs the serial port's interrupts: OUT2 and an enable mask. */
function serialInterrupts(code: GuestCode, mask: number): void {
  code.out(SERIAL + 4, 0x0b).out(SERIAL + 1, mask);
}

for (const accelerator of ACCELERATORS) {
  const absent = absence(accelerator);

  describe(`interrupts on ${accelerator}`, { skip: absent }, () => {
    test('come through the 8259A and end there', async () => {
      const code = new GuestCode().stack().interruptTable().gate(0x24, 'irq');
      code.pic(~(1 << SERIAL_IRQ));
      serialInterrupts(code, 2);
      code.sleepUntilCount(1);
      // The transmitter is empty again: enabling its interrupt anew gives another one.
      code
        .out(SERIAL + 1, 0)
        .out(SERIAL + 1, 2)
        .sleepUntilCount(2)
        .out(SERIAL + 1, 0);
      code.showMemory('count', COUNT).showMemory('identity', COUNT + 4);
      code
        .showMemory('within', COUNT + 8)
        .out(0x20, 0x0b)
        .in(0x20)
        .show('service')
        .powerOff();
      code.countingHandler('irq', 'pic', () => {
        code.in(SERIAL + 2).store(COUNT + 4, 'eax');
        // In service until the end of interrupt.
        code
          .out(0x20, 0x0b)
          .in(0x20)
          .store(COUNT + 8, 'eax');
      });
      const result = await run(accelerator, code);
      assert.deepEqual(result.exit, POWEROFF);
      assert.equal(value(result, 'identity') & 0xf, 2, 'transmitter empty');
      assert.equal(value(result, 'count'), 2);
      assert.equal(value(result, 'within'), 1 << SERIAL_IRQ, 'in service in the handler');
      assert.equal(value(result, 'service'), 0, 'nothing in service');
    });

    test('come through the I/O APIC and end at the local APIC', async () => {
      const code = new GuestCode().stack().interruptTable().gate(VECTOR, 'irq').pic(0xffff);
      code.storeValue(SPURIOUS, 0x1ff);
      redirect(code, SERIAL_IRQ, VECTOR);
      serialInterrupts(code, 2);
      code
        .sleepUntilCount(1)
        .out(SERIAL + 1, 0)
        .out(SERIAL + 1, 2)
        .sleepUntilCount(2);
      // A masked entry lets nothing through.
      code.out(SERIAL + 1, 0);
      redirect(code, SERIAL_IRQ, VECTOR | 0x10000);
      code
        .out(SERIAL + 1, 2)
        .emit('fb')
        .mov('ecx', 10000);
      code
        .label('wait')
        .emit('ffc9')
        .j('nz', 'wait')
        .emit('fa')
        .out(SERIAL + 1, 0);
      code.showMemory('count', COUNT).showMemory('identity', COUNT + 4);
      code.showMemory('service', LOCAL_APIC_ADDRESS + 0x120).powerOff();
      code.countingHandler('irq', 'apic', () => {
        code.in(SERIAL + 2).store(COUNT + 4, 'eax');
      });
      const result = await run(accelerator, code);
      assert.deepEqual(result.exit, POWEROFF);
      assert.equal(value(result, 'identity') & 0xf, 2, 'transmitter empty');
      assert.equal(value(result, 'count'), 2);
      assert.equal(value(result, 'service'), 0, 'nothing in service');
    });

    test('wait for IF, and for the instruction behind STI', async () => {
      const code = new GuestCode().stack().interruptTable().gate(0x24, 'irq');
      code.pic(~(1 << SERIAL_IRQ));
      serialInterrupts(code, 2);
      code.mov('ecx', 10000).label('wait').emit('ffc9').j('nz', 'wait');
      code.showMemory('masked', COUNT);
      // STI; MOV EAX, [COUNT]: the load still sees none.
      code.emit('fb').load('eax', COUNT).mov('ecx', 1000).label('open').emit('ffc9');
      code.j('nz', 'open').emit('fa').show('shadow').showMemory('taken', COUNT).powerOff();
      code.countingHandler('irq', 'pic', () => void code.in(SERIAL + 2));
      const result = await run(accelerator, code);
      assert.deepEqual(result.exit, POWEROFF);
      assert.deepEqual(
        ['masked', 'shadow', 'taken'].map((name) => value(result, name)),
        [0, 0, 1],
      );
    });

    for (const way of ['pic', 'apic'] as const) {
      test(`of the interval timer wake from HLT, through the ${way}`, async () => {
        const code = new GuestCode().stack().interruptTable();
        code.gate(way === 'pic' ? 0x20 : VECTOR, 'irq').pic(way === 'pic' ? 0xfffe : 0xffff);
        if (way === 'apic') {
          code.storeValue(SPURIOUS, 0x1ff);
          redirect(code, TIMER_PIN, VECTOR);
        }
        ticks(code);
        code.in(0x608, 4).store(DATA, 'eax').sleepUntilCount(20).in(0x608, 4);
        code.emit('2b05').dword(DATA).show('elapsed').powerOff();
        code.countingHandler('irq', way);
        const result = await run(accelerator, code);
        assert.deepEqual(result.exit, POWEROFF);
        const milliseconds = (value(result, 'elapsed') & 0xffffffff) / 3579.545;
        // A host under load is late with a tick, and catches up with some of them.
        assert.ok(milliseconds > 10, `${milliseconds} ms for 20 ticks of 1 ms`);
      });
    }

    test('of the local APIC timer, one-shot and periodic', async () => {
      const code = new GuestCode().stack().interruptTable().gate(VECTOR, 'irq').pic(0xffff);
      code.storeValue(SPURIOUS, 0x1ff).storeValue(DIVIDE, 0xb).storeValue(LVT_TIMER, VECTOR);
      code.storeValue(INITIAL_COUNT, 1000000).sleepUntilCount(1);
      code.showMemory('spent', CURRENT_COUNT).showMemory('once', COUNT);
      code.storeValue(LVT_TIMER, VECTOR | 0x20000).storeValue(INITIAL_COUNT, 200000);
      code.sleepUntilCount(6).storeValue(LVT_TIMER, 0x10000).showMemory('periodic', COUNT);
      code.powerOff().countingHandler('irq', 'apic');
      const result = await run(accelerator, code);
      assert.deepEqual(result.exit, POWEROFF);
      assert.equal(value(result, 'spent'), 0);
      assert.equal(value(result, 'once'), 1);
      assert.ok(value(result, 'periodic') >= 6);
    });

    test('of the TSC deadline come at their time and once', async () => {
      const code = new GuestCode().stack().interruptTable().gate(VECTOR, 'irq').pic(0xffff);
      code.storeValue(SPURIOUS, 0x1ff).storeValue(LVT_TIMER, VECTOR | 0x40000);
      // The counter plus 2^24 ticks: some milliseconds on any processor.
      code
        .emit('0f31 05')
        .dword(1 << 24)
        .emit('83d200')
        .store(DATA, 'eax')
        .store(DATA + 4, 'edx');
      code.mov('ecx', IA32_TSC_DEADLINE).emit('0f30').sleepUntilCount(1).emit('0f31');
      code
        .emit('2b05')
        .dword(DATA)
        .emit('1b15')
        .dword(DATA + 4)
        .emit('89d0')
        .show('early');
      code.mov('ecx', IA32_TSC_DEADLINE).emit('0f32').show('disarmed').showMemory('count', COUNT);
      code.powerOff().countingHandler('irq', 'apic');
      const result = await run(accelerator, code);
      assert.deepEqual(result.exit, POWEROFF);
      assert.equal(value(result, 'early'), 0, 'the counter is past the deadline');
      assert.equal(value(result, 'disarmed'), 0);
      assert.equal(value(result, 'count'), 1);
    });

    test('of console input wake from HLT', async () => {
      const code = new GuestCode().stack().interruptTable().gate(0x24, 'irq');
      code.pic(~(1 << SERIAL_IRQ));
      serialInterrupts(code, 1);
      code
        .print('ready\n')
        .sleepUntilCount(1)
        .print('woken\n')
        .showMemory('byte', COUNT + 4);
      code.powerOff();
      code.countingHandler('irq', 'pic', () => void code.in(SERIAL).store(COUNT + 4, 'eax'));
      await using subject = await Subject.create(accelerator, code);
      subject.vm.start();
      await subject.until('ready');
      subject.vm.writeConsole(Buffer.from('x'));
      assert.deepEqual(await subject.vm.exited, POWEROFF);
      assert.equal(subject.text, 'ready\nwoken\nbyte=00000078\n');
    });

    test('between processors: the second one starts and answers', async () => {
      // Real-mode code at 90000h: takes the number at DATA, adds its APIC id, answers at DATA + 4.
      const TRAMPOLINE = 0x90000;
      const code = new GuestCode().stack().jmp('go').label('second');
      code.emit('fa 31c0 8ed8 0f0116').word(0x0ff0).emit('0f20c0 6683c801 0f22c0 66ea');
      code
        .dword(TRAMPOLINE + 0x40)
        .word(8)
        .label('second.end');
      code.label('wide').mov('eax', 0x10).emit('8ed8').load('ebx', APIC_ID).emit('c1eb18');
      code
        .load('eax', DATA)
        .emit('01d8')
        .store(DATA + 4, 'eax')
        .emit('f4 ebfd')
        .label('wide.end');
      code.label('go').storeValue(SPURIOUS, 0x1ff).storeValue(DATA, 0x1000);
      // The entry's GDT lies at 5000h; the trampoline finds its register at FF0h.
      code.storeValue(0xff0, 31 | (0x5000 << 16)).storeValue(0xff4, 0);
      for (const [label, at] of [
        ['second', 0],
        ['wide', 0x40],
      ] as const) {
        code
          .mov('esi', label)
          .mov('edi', TRAMPOLINE + at)
          .mov('ecx', `${label}.end`);
        code.emit('29f1 fc f3a4');
      }
      code.storeValue(ICR_HIGH, 1 << 24).storeValue(ICR_LOW, 0x4500);
      code.storeValue(ICR_HIGH, 1 << 24).storeValue(ICR_LOW, 0x4600 | (TRAMPOLINE >>> 12));
      code
        .label('wait')
        .compare(DATA + 4, 0)
        .j('z', 'wait')
        .showMemory('answer', DATA + 4);
      code.powerOff();
      if (accelerator === 'wasm') {
        await assert.rejects(
          run(accelerator, code, { cpus: 2 }),
          (error) => error instanceof PandoError && error.code === 'VM_CPUS_UNSUPPORTED',
        );
        return;
      }
      const result = await run(accelerator, code, { cpus: 2 });
      assert.deepEqual(result.exit, POWEROFF);
      assert.equal(value(result, 'answer'), 0x1001);
    });
  });
}
