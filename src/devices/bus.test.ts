import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MmioBus, PortBus } from './bus.js';
import type { MmioDevice, PortDevice } from './device.js';

class Recorder implements PortDevice, MmioDevice {
  readonly name: string;
  readonly log: string[] = [];
  readonly value: number;
  constructor(name: string, value: number) {
    this.name = name;
    this.value = value;
  }
  reset(): void {}
  readPort(port: number, size: number): number {
    this.log.push(`in ${port.toString(16)} ${size}`);
    return this.value + port;
  }
  writePort(port: number, size: number, value: number): void {
    this.log.push(`out ${port.toString(16)} ${size} ${value.toString(16)}`);
  }
  readMmio(offset: number, size: number): number {
    this.log.push(`read ${offset.toString(16)} ${size}`);
    return this.value;
  }
  writeMmio(offset: number, size: number, value: number): void {
    this.log.push(`write ${offset.toString(16)} ${size} ${value.toString(16)}`);
  }
}

test('a port that nobody owns reads all-ones of the access size and swallows writes', () => {
  const bus = new PortBus();
  assert.equal(bus.read(0x300, 1), 0xff);
  assert.equal(bus.read(0x300, 2), 0xffff);
  assert.equal(bus.read(0x300, 4), 0xffffffff);
  bus.write(0x300, 4, 1);
});

test('a word access to a byte-wide device becomes two byte accesses, low port first', () => {
  const bus = new PortBus();
  const device = new Recorder('a', 0);
  bus.attach(device, 0x10, 2);
  assert.equal(bus.read(0x10, 2), 0x1110);
  bus.write(0x10, 2, 0xbeef);
  assert.deepEqual(device.log, ['in 10 1', 'in 11 1', 'out 10 1 ef', 'out 11 1 be']);
});

test('an access that runs past a device floats high beyond it, and past the last port wraps', () => {
  const bus = new PortBus();
  bus.attach(new Recorder('a', 0), 0x10, 2);
  assert.equal(bus.read(0x11, 2), 0xff11);
  assert.equal(bus.read(0xf, 4), 0xff1110ff);
  bus.attach(new Recorder('b', 0x55), 0, 1);
  assert.equal(bus.read(0xffff, 2), 0x55ff);
});

test('a device with a 32-bit data path gets wide accesses whole', () => {
  const bus = new PortBus();
  const device = new Recorder('pm', 0);
  bus.attach(device, 0x600, 4, 4);
  bus.write(0x600, 4, 0xfedcba98);
  bus.read(0x602, 2);
  assert.deepEqual(device.log, ['out 600 4 fedcba98', 'in 602 2']);
});

test('overlapping and impossible ranges are refused by name', () => {
  const ports = new PortBus();
  ports.attach(new Recorder('first', 0), 0x3f8, 8);
  assert.throws(() => ports.attach(new Recorder('second', 0), 0x3ff, 1), {
    code: 'PORT_RANGE_OVERLAP',
    message: /second.*3ff.*first/,
  });
  assert.throws(() => ports.attach(new Recorder('far', 0), 0xffff, 2), {
    code: 'PORT_RANGE_INVALID',
  });
  // The failed attachment left nothing behind.
  ports.attach(new Recorder('third', 0), 0x400, 1);

  const memory = new MmioBus();
  memory.attach(new Recorder('low', 0), 0x1000, 0x1000);
  assert.throws(() => memory.attach(new Recorder('cross', 0), 0xfff, 2), {
    code: 'MMIO_RANGE_OVERLAP',
  });
  assert.throws(() => memory.attach(new Recorder('none', 0), 0, 0), { code: 'MMIO_RANGE_INVALID' });
  memory.attach(new Recorder('next', 0), 0x2000, 1);
});

test('memory accesses arrive as offsets, also above 4 GiB', () => {
  const bus = new MmioBus();
  const device = new Recorder('high', 0x12345678);
  bus.attach(device, 0x1_0000_0000, 0x1000);
  assert.equal(bus.read(0x1_0000_0010, 4), 0x12345678);
  bus.write(0x1_0000_0fff, 1, 0x1ff);
  assert.deepEqual(device.log, ['read 10 4', 'write fff 1 ff']);
  assert.equal(bus.read(0x1_0000_1000, 2), 0xffff);
});
