import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LOW_RAM_END } from '../arch/layout.js';
import { writeBootData } from './boot-data.js';
import { buildMemoryMap } from './memory-map.js';

const GIB = 2 ** 30;

function write(overrides: Partial<Parameters<typeof writeBootData>[1]> = {}) {
  const memory = new Uint8Array(0x100000);
  const writes: number[] = [];
  const startInfo = writeBootData(
    {
      write: (address, bytes) => {
        writes.push(address);
        memory.set(bytes, address);
      },
    },
    {
      memoryBytes: GIB,
      vcpus: 1,
      commandLine: 'console=ttyS0',
      modules: [{ address: 0x3f000000, size: 0x12345 }],
      ...overrides,
    },
  );
  return { memory, view: new DataView(memory.buffer), startInfo, writes };
}

test('start info names module, command line, RSDP and memory map', () => {
  const { view, memory, startInfo } = write();
  assert.equal(view.getUint32(startInfo, true), 0x336ec578);
  assert.equal(view.getUint32(startInfo + 4, true), 1);
  assert.equal(view.getUint32(startInfo + 8, true), 0);
  assert.equal(view.getUint32(startInfo + 12, true), 1);
  const modules = Number(view.getBigUint64(startInfo + 16, true));
  assert.equal(view.getBigUint64(modules, true), 0x3f000000n);
  assert.equal(view.getBigUint64(modules + 8, true), 0x12345n);
  assert.equal(view.getBigUint64(modules + 16, true), 0n);
  const commandLine = Number(view.getBigUint64(startInfo + 24, true));
  assert.equal(
    new TextDecoder().decode(memory.subarray(commandLine, commandLine + 14)),
    'console=ttyS0\0',
  );
  const rsdp = Number(view.getBigUint64(startInfo + 32, true));
  assert.equal(new TextDecoder().decode(memory.subarray(rsdp, rsdp + 8)), 'RSD PTR ');
  assert.equal(view.getUint32(startInfo + 48, true), 6);
  const map = Number(view.getBigUint64(startInfo + 40, true));
  assert.equal(view.getBigUint64(map + 3 * 24, true), 0x100000n);
  assert.equal(view.getBigUint64(map + 3 * 24 + 8, true), BigInt(GIB - 0x100000));
  assert.equal(view.getUint32(map + 3 * 24 + 16, true), 1);
});

test('without modules the list’s address is 0', () => {
  const { view, startInfo } = write({ modules: [] });
  assert.equal(view.getUint32(startInfo + 12, true), 0);
  assert.equal(view.getBigUint64(startInfo + 16, true), 0n);
});

test('a command line of 2047 bytes fits; 2048, and one with a zero byte, are refused unwritten', () => {
  write({ commandLine: 'x'.repeat(2047) });
  for (const [commandLine, code] of [
    ['x'.repeat(2048), 'COMMAND_LINE_TOO_LONG'],
    ['é'.repeat(1024), 'COMMAND_LINE_TOO_LONG'],
    ['a\0b', 'COMMAND_LINE_CONTROL_CHARACTER'],
  ] as const) {
    const writes: number[] = [];
    assert.throws(
      () =>
        writeBootData(
          { write: (address) => writes.push(address) },
          { memoryBytes: GIB, vcpus: 1, commandLine, modules: [] },
        ),
      { code },
    );
    assert.deepEqual(writes, []);
  }
});

test('too many modules are refused', () => {
  const modules = Array.from({ length: 121 }, () => ({ address: 0, size: 1 }));
  assert.throws(() => write({ modules }), { code: 'BOOT_MODULES_TOO_MANY' });
});

test('nothing that is written overlaps', () => {
  const ranges: [number, number][] = [];
  writeBootData(
    { write: (address, bytes) => ranges.push([address, address + bytes.length]) },
    {
      memoryBytes: 8 * GIB,
      vcpus: 240,
      commandLine: 'x'.repeat(2047),
      modules: Array.from({ length: 120 }, () => ({ address: 0, size: 1 })),
    },
  );
  ranges.sort((a, b) => a[0] - b[0]);
  for (let i = 1; i < ranges.length; i += 1) assert.ok(ranges[i - 1]![1] <= ranges[i]![0]);
  assert.equal(ranges[0]![0], 0, 'the TSS');
});

test('the memory map is sorted and disjoint, and its RAM ends at the holes', () => {
  for (const memoryBytes of [2 * 2 ** 20, GIB, 3 * GIB, 3 * GIB + 4096, 64 * GIB]) {
    const map = buildMemoryMap(memoryBytes);
    for (let i = 1; i < map.length; i += 1) {
      assert.ok(map[i - 1]!.address + map[i - 1]!.size <= map[i]!.address);
    }
    const ram = map.filter((entry) => entry.type === 1);
    const total = ram.reduce((sum, entry) => sum + entry.size, 0);
    assert.equal(total, memoryBytes - (0x100000 - LOW_RAM_END));
    for (const entry of ram) {
      assert.ok(entry.address >= 2 ** 32 || entry.address + entry.size <= 3 * GIB);
    }
  }
});

test('memory that is no whole number of pages, or too little, is refused', () => {
  for (const size of [0, 2 ** 20, GIB + 1, Number.NaN, 2 ** 60]) {
    assert.throws(() => buildMemoryMap(size), { code: 'MEMORY_SIZE_INVALID' });
  }
});
