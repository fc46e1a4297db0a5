import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as aml from './aml.js';
import { buildAcpiTables } from './tables.js';

const ADDRESS = 0xe0000;

interface Table {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

function open(vcpus = 1, dsdtDevices: readonly Uint8Array[] = []) {
  const { bytes, rsdpAddress } = buildAcpiTables({ address: ADDRESS, vcpus, dsdtDevices });
  const at = (address: number, length?: number): Table => {
    const offset = address - ADDRESS;
    const size = length ?? new DataView(bytes.buffer).getUint32(offset + 4, true);
    return {
      bytes: bytes.subarray(offset, offset + size),
      view: new DataView(bytes.buffer, offset, size),
    };
  };
  const rsdp = at(rsdpAddress, 36);
  const xsdt = at(Number(rsdp.view.getBigUint64(24, true)));
  const tables = new Map<string, Table>();
  for (let offset = 36; offset < xsdt.bytes.length; offset += 8) {
    const table = at(Number(xsdt.view.getBigUint64(offset, true)));
    tables.set(signature(table), table);
  }
  const fadt = tables.get('FACP')!;
  return { rsdp, xsdt, tables, fadt, at, dsdt: at(Number(fadt.view.getBigUint64(140, true))) };
}

function signature(table: Table): string {
  return String.fromCharCode(...table.bytes.subarray(0, 4));
}

function sum(bytes: Uint8Array): number {
  return bytes.reduce((total, byte) => (total + byte) & 0xff, 0);
}

test('every table is found from the RSDP, and every checksum is right', () => {
  const { rsdp, xsdt, tables, dsdt } = open();
  assert.equal(rsdp.bytes[15], 2);
  assert.equal(sum(rsdp.bytes.subarray(0, 20)), 0);
  assert.equal(sum(rsdp.bytes), 0);
  assert.deepEqual([...tables.keys()], ['FACP', 'APIC']);
  for (const table of [xsdt, dsdt, ...tables.values()]) {
    assert.equal(sum(table.bytes), 0, signature(table));
  }
  assert.equal(signature(dsdt), 'DSDT');
});

test('the FADT describes the fixed hardware', () => {
  const { fadt, at } = open();
  const { view } = fadt;
  assert.equal(fadt.bytes.length, 276);
  assert.equal(view.getUint8(8), 6);
  assert.equal(view.getUint16(46, true), 9);
  assert.deepEqual(
    [56, 64, 76, 80].map((o) => view.getUint32(o, true)),
    [0x600, 0x604, 0x608, 0x60c],
  );
  assert.deepEqual(
    [88, 89, 91, 92].map((o) => view.getUint8(o)),
    [4, 2, 4, 4],
  );
  assert.equal(view.getUint16(109, true) & 0x02, 0, 'no 8042');
  assert.equal(view.getUint32(112, true) & (1 << 20), 0, 'not hardware-reduced');
  assert.notEqual(view.getUint32(112, true) & (1 << 10), 0, 'reset register');
  assert.equal(view.getBigUint64(120, true), 0xcf9n);
  assert.equal(view.getUint8(128), 6);
  const facs = at(view.getUint32(36, true));
  assert.equal(signature(facs), 'FACS');
  assert.equal(facs.bytes.length, 64);
});

function madtEntries(table: Table): number[][] {
  const entries: number[][] = [];
  for (let offset = 44; offset < table.bytes.length; offset += table.bytes[offset + 1]!) {
    entries.push([...table.bytes.subarray(offset, offset + table.bytes[offset + 1]!)]);
  }
  return entries;
}

test('the MADT lists processors, I/O APIC, and the overrides of timer and SCI', () => {
  assert.deepEqual(madtEntries(open(2).tables.get('APIC')!), [
    [0, 8, 0, 0, 1, 0, 0, 0],
    [0, 8, 1, 1, 1, 0, 0, 0],
    [1, 12, 0, 0, 0x00, 0x00, 0xc0, 0xfe, 0, 0, 0, 0],
    [2, 10, 0, 0, 2, 0, 0, 0, 0, 0],
    [2, 10, 0, 9, 9, 0, 0, 0, 0x0d, 0],
    [4, 6, 0xff, 0, 0, 1],
  ]);
});

test('processors from id 255 on have x2APIC entries', () => {
  const entries = madtEntries(open(257).tables.get('APIC')!);
  assert.deepEqual(
    entries.filter((entry) => entry[0] === 9),
    [
      [9, 16, 0, 0, 255, 0, 0, 0, 1, 0, 0, 0, 255, 0, 0, 0],
      [9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0],
    ],
  );
  assert.equal(entries.filter((entry) => entry[0] === 0).length, 255);
  assert.equal(entries.filter((entry) => entry[0] === 10).length, 1);
});

test('the DSDT holds \\_S5 with sleep type 5, and the devices it is given', () => {
  const extra = aml.device('VIO0', [aml.name('_HID', aml.string('LNRO0005'))]);
  const { dsdt } = open(1, [extra]);
  const s5 = [0x08, 0x5c, 0x5f, 0x53, 0x35, 0x5f, 0x12, 0x08, 0x04, 0x0a, 5, 0x0a, 5, 0, 0];
  assert.deepEqual([...dsdt.bytes.subarray(36, 36 + s5.length)], s5);
  assert.ok(Buffer.from(dsdt.bytes).includes(Buffer.from(extra)));
  assert.ok(Buffer.from(dsdt.bytes).includes(Buffer.from(aml.eisaId('PNP0B00'))));
  // Scope (\\_GPE) { Method (_E00) { Notify (\\_SB.VGEN, 0x80) } }
  const event = Buffer.from('101a5c5f47504514135f45303000865c2e5f53425f5647454e0a80', 'hex');
  assert.ok(Buffer.from(dsdt.bytes).includes(event));
});

test('tables that outgrow the BIOS area are refused', () => {
  const huge = aml.device('BIG', [aml.name('BUF', aml.buffer(new Uint8Array(0x20000)))]);
  assert.throws(() => open(1, [huge]), { code: 'ACPI_TABLES_TOO_LARGE' });
});

test('AML encodings are the specification’s', () => {
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
  assert.equal(hex(aml.eisaId('PNP0501')), '0c41d00501');
  assert.equal(hex(aml.integer(0)), '00');
  assert.equal(hex(aml.integer(1)), '01');
  assert.equal(hex(aml.integer(255)), '0aff');
  assert.equal(hex(aml.integer(256)), '0b0001');
  assert.equal(hex(aml.integer(0x12345678)), '0c78563412');
  assert.equal(hex(aml.integer(2 ** 32)), '0e0000000001000000');
  assert.equal(hex(aml.nameString('\\_SB')), '5c5f53425f');
  assert.equal(hex(aml.nameString('A.B')), '2e415f5f5f425f5f5f');
  assert.equal(hex(aml.string('hi')), '0d686900');
  assert.throws(() => aml.nameString('1BAD'), RangeError);
  assert.throws(() => aml.eisaId('pnp0501'), RangeError);
});

test('a package length counts itself, with one, two and three bytes', () => {
  assert.equal(aml.buffer(new Uint8Array(10))[1], 1 + 2 + 10);
  // 59 bytes, with opcode and size operand: the last that a single byte can count.
  assert.equal(aml.buffer(new Uint8Array(60))[1], 0x3f);
  const two = aml.buffer(new Uint8Array(61));
  assert.deepEqual([...two.subarray(1, 3)], [0x40 | (65 & 15), 65 >>> 4]);
  const three = aml.buffer(new Uint8Array(5000));
  const total = 3 + 3 + 5000;
  assert.deepEqual(
    [...three.subarray(1, 4)],
    [0x80 | (total & 15), (total >>> 4) & 255, total >>> 12],
  );
});
