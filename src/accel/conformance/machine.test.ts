/**
 * What a machine does, whichever accelerator runs it: entry, ports, MMIO, string I/O, CPUID, memory
 * that changes under the code, paging, ends. Expected values are those of the manuals that the devices
 * and arch/ cite.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { START_INFO_ADDRESS } from '../../arch/layout.js';
import { APIC_EOI, COUNT, DATA, GuestCode, IDT, SERIAL } from './testing/guest.js';
import { ACCELERATORS, absence, run, Subject, value } from './testing/subject.js';

const POWEROFF = { kind: 'poweroff' };
/** Where neither RAM nor a device answers. */
const NOWHERE = 0xd0000000;
const NO_PORT = 0x1230;
const LOCAL_APIC_VERSION = APIC_EOI - 0x80;
const IOAPIC_SELECT = 0xfec00000;
const IOAPIC_WINDOW = 0xfec00010;

for (const accelerator of ACCELERATORS) {
  const absent = absence(accelerator);
  if (absent !== undefined) console.log(absent);

  describe(`a machine on ${accelerator}`, { skip: absent }, () => {
    test('starts in the state that the PVH document gives', async () => {
      const code = new GuestCode();
      code.emit('89dd').stack();
      code.emit('9c 58').show('eflags').emit('89e8').show('ebx');
      code.emit('0f20c0').show('cr0').emit('0f20e0').show('cr4');
      code.mov('eax', 0).emit('8cc8').show('cs');
      code.mov('eax', 0).emit('8cd8').show('ds').mov('eax', 0).emit('8cc0').show('es');
      code.mov('eax', 0).emit('8cd0').show('ss').mov('eax', 0).emit('0f00c8').show('tr');
      code.emit('8b4500').show('magic');
      code.mov('ecx', 0xc0000080).emit('0f32').show('efer');
      const result = await run(accelerator, code.powerOff());
      assert.deepEqual(result.exit, POWEROFF);
      assert.equal(value(result, 'eflags'), 2);
      assert.equal(value(result, 'ebx'), START_INFO_ADDRESS);
      assert.equal(value(result, 'magic'), 0x336ec578);
      assert.equal(value(result, 'cr0'), 0x11);
      assert.equal(value(result, 'cr4'), 0);
      assert.equal(value(result, 'efer'), 0);
      assert.deepEqual(
        ['cs', 'ds', 'es', 'ss', 'tr'].map((name) => value(result, name)),
        [8, 0x10, 0x10, 0x10, 0x18],
      );
    });

    test('answers ports at all widths', async () => {
      const code = new GuestCode().stack();
      const scratch = SERIAL + 7;
      code.out(scratch, 0x5a).in(scratch).show('byte');
      // A word at the last port of the serial port takes in the port behind it, where nothing is.
      code
        .in(scratch, 2)
        .show('word')
        .in(scratch - 1, 4)
        .show('dword');
      code.out(scratch, 0x1234, 2).in(scratch).show('low');
      for (const size of [1, 2, 4] as const) code.in(NO_PORT, size).show(`none${size}`);
      code.out(NO_PORT, 0x12345678, 4);
      // A dword at CF8h is PCI's address register, not the reset register in its second byte.
      code.out(0xcf8, 0x80000600, 4).in(0xcf8, 4).show('pci');
      code.emit('b077 e6').emit(0x80).emit('b000 e4').emit(0x80).show('immediate');
      const result = await run(accelerator, code.powerOff());
      assert.deepEqual(result.exit, POWEROFF);
      assert.equal(value(result, 'byte'), 0x5a);
      assert.equal(value(result, 'word'), 0xff5a);
      // Modem status, scratch, then nothing twice.
      assert.equal(value(result, 'dword') >>> 8, 0xffff5a);
      assert.equal(value(result, 'low'), 0x34);
      assert.deepEqual(
        [1, 2, 4].map((size) => value(result, `none${size}`)),
        [0xff, 0xffff, 0xffffffff],
      );
      assert.equal(value(result, 'pci'), 0xffffffff);
      assert.equal(value(result, 'immediate') & 0xff, 0x77);
    });

    test('answers memory that is not RAM at all widths', async () => {
      const code = new GuestCode().stack();
      code.mov('eax', 0).emit(0xa0).dword(NOWHERE).show('byte');
      code.mov('eax', 0).emit(0x66, 0xa1).dword(NOWHERE).show('word');
      code.emit(0xa1).dword(NOWHERE).show('dword');
      code
        .emit(0xa1)
        .dword(NOWHERE + 0xffe)
        .show('across');
      // MOVQ through MM0: 8 bytes there and back.
      code.emit('0f6f05').dword(NOWHERE).emit('0f7f05').dword(DATA);
      code.showMemory('quadlow', DATA).showMemory('quadhigh', DATA + 4);
      code.emit('c605').dword(NOWHERE).emit(0x12).emit('66c705').dword(NOWHERE).word(0x1234);
      code.storeValue(NOWHERE, 0x12345678).emit('0f6f05').dword(DATA).emit('0f7f05').dword(NOWHERE);
      code.showMemory('after', NOWHERE);
      // Read, change, write of a register: the I/O APIC's select register keeps its byte.
      code.storeValue(IOAPIC_SELECT, 0x10).emit('800d').dword(IOAPIC_SELECT).emit(0x05);
      code.emit(0xa1).dword(IOAPIC_SELECT).show('select');
      code.storeValue(IOAPIC_SELECT, 1).showMemory('ioapic', IOAPIC_WINDOW);
      code.showMemory('apic', LOCAL_APIC_VERSION);
      code.emit('8b35').dword(LOCAL_APIC_VERSION).emit('89f0').show('register');
      const result = await run(accelerator, code.powerOff());
      assert.deepEqual(result.exit, POWEROFF);
      const all = ['dword', 'across', 'quadlow', 'quadhigh', 'after'];
      assert.deepEqual([value(result, 'byte'), value(result, 'word')], [0xff, 0xffff]);
      for (const name of all) assert.equal(value(result, name), 0xffffffff, name);
      assert.equal(value(result, 'select') & 0xff, 0x15);
      // 24 inputs, version 11h or 20h.
      assert.equal((value(result, 'ioapic') >>> 16) & 0xff, 23);
      assert.equal((value(result, 'apic') & 0xf0) >>> 4, 1);
      assert.equal(value(result, 'register'), value(result, 'apic'));
    });

    test('moves strings to and from ports', async () => {
      const code = new GuestCode().stack();
      const text = 'a string\n';
      code
        .jmp('go')
        .label('text')
        .emit(...Buffer.from(text))
        .label('go');
      code.mov('esi', 'text').mov('ecx', text.length).mov('edx', SERIAL).emit('fc f36e');
      code.emit('89c8').show('left').emit('89f0').mov('ebx', 'text').emit('29d8').show('moved');
      code.out(SERIAL + 7, 0xc3);
      code.storeValue(DATA, 0x11111111).storeValue(DATA + 4, 0x22222222);
      code
        .mov('edi', DATA)
        .mov('ecx', 5)
        .mov('edx', SERIAL + 7)
        .emit('f36c');
      code.showMemory('low', DATA).showMemory('high', DATA + 4);
      // Backwards, words, one port that nobody has.
      code
        .mov('edi', DATA + 6)
        .mov('ecx', 2)
        .mov('edx', NO_PORT)
        .emit('fd f3666d fc');
      code.showMemory('back', DATA + 4);
      code.mov('edi', DATA).mov('ecx', 0).emit('f36d').showMemory('none', DATA);
      code.mov('edi', DATA).emit('6d').showMemory('one', DATA);
      // 5000 bytes cross a page, and are more than KVM takes in one exit.
      code
        .mov('edi', DATA + 0x800)
        .mov('ecx', 5000)
        .mov('edx', SERIAL + 7)
        .emit('f36c');
      code
        .emit('89f8')
        .show('end')
        .showMemory('tail', DATA + 0x800 + 4996);
      code.showMemory('beyond', DATA + 0x800 + 5000);
      const result = await run(accelerator, code.powerOff());
      assert.deepEqual(result.exit, POWEROFF);
      assert.equal(result.lines[0], 'a string');
      assert.equal(value(result, 'left'), 0);
      assert.equal(value(result, 'moved'), text.length);
      assert.equal(value(result, 'low'), 0xc3c3c3c3);
      assert.equal(value(result, 'high'), 0x222222c3);
      assert.equal(value(result, 'back'), 0xffffffff);
      assert.equal(value(result, 'none'), 0xc3c3c3c3);
      assert.equal(value(result, 'one'), 0xffffffff);
      assert.equal(value(result, 'end'), DATA + 0x800 + 5000);
      assert.equal(value(result, 'tail'), 0xc3c3c3c3);
      assert.equal(value(result, 'beyond'), 0);
    });

    test('names itself in CPUID', async () => {
      const code = new GuestCode().stack();
      const leaf = (number: number): GuestCode =>
        code.mov('eax', number).mov('ecx', 0).emit('0fa2') && code;
      leaf(1).emit('89c8').show('ecx').mov('eax', 1).mov('ecx', 0).emit('0fa2');
      code.emit('89d0').show('edx').mov('eax', 1).mov('ecx', 0).emit('0fa2 89d8').show('ebx');
      leaf(0x40000000).emit('89d8').show('hypervisor');
      leaf(0x80000000).show('extended');
      leaf(0x80000001).emit('89d0').show('features');
      leaf(0xb).emit('89d0').show('x2apic');
      const result = await run(accelerator, code.powerOff());
      assert.deepEqual(result.exit, POWEROFF);
      assert.ok(value(result, 'ecx') & (1 << 31), 'the hypervisor bit');
      // FPU, TSC, MSR, PAE, CX8, APIC, CMOV, SSE, SSE2.
      const wanted = [0, 4, 5, 6, 8, 9, 15, 25, 26].reduce((bits, bit) => bits | (1 << bit), 0);
      assert.equal(value(result, 'edx') & wanted, wanted);
      assert.equal(value(result, 'ebx') >>> 24, 0, 'APIC id');
      assert.equal(value(result, 'hypervisor'), 0x4b4d564b, 'KVMK');
      assert.ok(value(result, 'extended') >= 0x80000008);
      assert.ok(value(result, 'features') & (1 << 29), 'long mode');
    });

    test('runs code that it has just written', async () => {
      const code = new GuestCode().stack();
      // MOV EAX, imm32 with an immediate that the loop changes right before it.
      code.mov('ecx', 0).mov('ebx', 0).label('loop').emit('41 890d').address('patched', 1);
      code.label('patched').mov('eax', 0).emit('01c3 81f9').dword(100).j('nz', 'loop');
      code.emit('89d8').show('sum');
      // Code copied to data pages, across their border, run, changed, and run again.
      const at = DATA + 0xffd;
      code.jmp('copy').label('routine').mov('eax', 0x1111).emit('c3').label('copy');
      const put = (): void => {
        code.mov('esi', 'routine').mov('edi', at).mov('ecx', 6).emit('fc f3a4');
      };
      put();
      code.mov('edx', at).emit('ffd2').show('first');
      code
        .emit('c705')
        .dword(at + 1)
        .dword(0x2222)
        .emit('ffd2')
        .show('second');
      put();
      code.mov('edx', at).emit('ffd2').show('third');
      const result = await run(accelerator, code.powerOff());
      assert.deepEqual(result.exit, POWEROFF);
      assert.equal(value(result, 'sum'), 5050);
      assert.deepEqual(
        ['first', 'second', 'third'].map((name) => value(result, name)),
        [0x1111, 0x2222, 0x1111],
      );
    });

    test('delivers page faults with address and error code, and goes on when mended', async () => {
      const code = new GuestCode().stack();
      const TABLES = 0x230000;
      // The second GiB is not there; its directory is made by the handler.
      const MISSING = 0x40000000;
      const ENTRY = TABLES + 0x1008;
      code.longMode(TABLES).longGate(14, 'fault').mov('ebx', MISSING);
      code.emit('c74310').dword(0xabcd1234);
      code
        .load('eax', DATA + 0x10)
        .showLong('written')
        .load('eax', COUNT)
        .showLong('faults');
      code
        .load('eax', COUNT + 4)
        .showLong('address')
        .load('eax', COUNT + 8)
        .showLong('error');
      // The page read-only, under CR0.WP.
      code
        .storeValue(TABLES + 0x4000, DATA | 1)
        .mov('ebx', MISSING)
        .emit('0f013b');
      code
        .emit('c74320')
        .dword(0x77)
        .load('eax', DATA + 0x20)
        .showLong('protected');
      code
        .load('eax', COUNT + 8)
        .showLong('error2')
        .load('eax', COUNT)
        .showLong('faults2');
      code.powerOff();
      code
        .label('fault')
        .emit('50')
        .increment(COUNT)
        .emit('0f20d0')
        .store(COUNT + 4, 'eax');
      code.emit('8b442408').store(COUNT + 8, 'eax');
      code
        .storeValue(ENTRY, (TABLES + 0x3000) | 3)
        .storeValue(TABLES + 0x3000, (TABLES + 0x4000) | 3);
      code.storeValue(TABLES + 0x4000, DATA | 3).emit('0f013b 58 4883c408 48cf');
      const result = await run(accelerator, code);
      assert.deepEqual(result.exit, POWEROFF);
      assert.equal(value(result, 'written'), 0xabcd1234);
      assert.equal(value(result, 'faults'), 1);
      assert.equal(value(result, 'address'), MISSING + 0x10);
      assert.equal(value(result, 'error'), 2, 'a write of a page that is not present');
      assert.equal(value(result, 'protected'), 0x77);
      assert.equal(value(result, 'error2'), 3, 'a write of a page that is read-only');
      assert.equal(value(result, 'faults2'), 2);
    });

    test('has RAM above the hole for devices, from 4 GiB on, where the accelerator can', async () => {
      const TABLES = 0x230000;
      const HOLE = TABLES + 0x3000;
      const HIGH = TABLES + 0x4000;
      const memory = 0xc0000000 + (64 << 20);
      const code = new GuestCode().stack().longMode(TABLES);
      code.storeValue(TABLES + 0x1018, HOLE | 3).storeValue(TABLES + 0x1020, HIGH | 3);
      code.storeValue(HOLE, 0xc0000083);
      // 4 GiB; the last 2 MiB of RAM; what lies behind it.
      for (const page of [0, 31, 32]) {
        code.storeValue(HIGH + page * 8, (page << 21) | 0x83).storeValue(HIGH + page * 8 + 4, 1);
      }
      /** MOV RBX, address. */
      const at = (high: number, low: number): void => void code.emit('48bb').dword(low).dword(high);
      const write = (dword: number): void => void code.emit('c703').dword(dword);
      const read = (name: string): void => void code.emit('8b03').showLong(name);
      at(1, 0);
      write(0x11111111);
      // A page of its own, of zeros.
      at(1, 0x1000);
      write(0);
      at(1, 0x3fffffc);
      write(0x22222222);
      at(1, 0);
      read('first');
      at(1, 0x3fffffc);
      read('last');
      at(1, 0x4000000);
      read('behind');
      at(0, 0xc0000000);
      read('hole');
      at(0, 0);
      read('zero');
      code
        .out(SERIAL + 4, 3)
        .label('poll')
        .in(SERIAL + 5)
        .emit('a801')
        .j('z', 'poll');
      at(1, 0);
      read('again');
      code.powerOff();
      if (accelerator === 'wasm') {
        await assert.rejects(Subject.create(accelerator, code, { memory }), {
          code: 'VM_MEMORY_UNSUPPORTED',
        });
        return;
      }
      await using subject = await Subject.create(accelerator, code, { memory });
      subject.vm.start();
      await subject.until('zero=');
      const trimmed = await subject.vm.trim();
      assert.ok(trimmed >= 1, `${trimmed} pages`);
      const parts = subject.vm.memory().parts;
      assert.equal(
        parts.reduce((sum, { total }) => sum + total, 0),
        memory / 4096,
      );
      subject.vm.writeConsole(Buffer.from('x'));
      await subject.until('again=');
      assert.deepEqual(await subject.vm.exited, POWEROFF);
      assert.deepEqual(subject.text.trim().split('\n'), [
        'first=11111111',
        'last=22222222',
        'behind=ffffffff',
        'hole=ffffffff',
        'zero=00000000',
        'again=11111111',
      ]);
    });

    test('ends with the state of the vCPU after a triple fault', async () => {
      const code = new GuestCode().stack().print('before\n').mov('esi', 0x1234);
      // A table of one byte: the exception, then #DF, then nobody.
      code.jmp('go').label('table').word(0).dword(IDT).label('go');
      code.emit('0f011d').address('table').label('here').emit('0f0b');
      const here = code.here - 2;
      const { exit, lines } = await run(accelerator, code);
      assert.deepEqual(lines, ['before']);
      assert.ok(
        exit.kind === 'shutdown',
        JSON.stringify(exit, (_, v) => `${v}`),
      );
      assert.equal(exit.vcpu.rip, BigInt(here));
      assert.equal(exit.vcpu.gpr[6], 0x1234n);
    });
  });
}
