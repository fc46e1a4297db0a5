import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stateBlock } from './device.js';
import { RTC_STATE_BYTES, Rtc } from './rtc.js';

const A = 0x0a;
const B = 0x0b;
const C = 0x0c;
const D = 0x0d;
const CENTURY = 0x32;

function setUp(start = Date.UTC(2026, 10, 22, 21, 58, 37)) {
  const time = { now: 0 };
  const irq = { level: false };
  const state = stateBlock(new SharedArrayBuffer(RTC_STATE_BYTES), 0, RTC_STATE_BYTES);
  const rtc = new Rtc(state, { now: () => time.now }, () => start + time.now / 1e6, {
    set: (level) => {
      irq.level = level;
    },
  });
  rtc.reset();
  const read = (index: number): number => {
    rtc.writePort(0x70, 1, index);
    return rtc.readPort(0x71);
  };
  const write = (index: number, value: number): void => {
    rtc.writePort(0x70, 1, index);
    rtc.writePort(0x71, 1, value);
  };
  const advance = (ms: number): void => {
    const end = time.now + ms * 1e6;
    while (rtc.deadline() <= end) {
      time.now = rtc.deadline();
      rtc.expire(time.now);
    }
    time.now = end;
  };
  const clock = (): number[] => [CENTURY, 9, 8, 7, 4, 2, 0].map(read);
  return { time, irq, rtc, read, write, advance, clock };
}

test('it shows the host’s time, in BCD and 24 hours after power-on', () => {
  const { clock, read } = setUp();
  assert.deepEqual(clock(), [0x20, 0x26, 0x11, 0x22, 0x21, 0x58, 0x37]);
  assert.equal(read(6), 1, 'a Sunday');
  assert.equal(read(A), 0x26);
  assert.equal(read(B), 0x02);
  assert.equal(read(D), 0x80);
});

test('binary and 12-hour formats', () => {
  const { read, write } = setUp();
  write(B, 0x06);
  assert.deepEqual([4, 2, 0].map(read), [21, 58, 37]);
  write(B, 0x00);
  assert.equal(read(4), 0x89, '9 p.m.');
  write(B, 0x04);
  assert.equal(read(4), 0x80 | 9);
});

test('midnight and noon are 12 in the 12-hour format', () => {
  const midnight = setUp(Date.UTC(2026, 0, 1, 0, 0, 0));
  midnight.write(B, 0x00);
  assert.equal(midnight.read(4), 0x12);
  const noon = setUp(Date.UTC(2026, 0, 1, 12, 0, 0));
  noon.write(B, 0x00);
  assert.equal(noon.read(4), 0x92);
});

test('UIP warns 2.228 ms before the second ends', () => {
  const { read, advance } = setUp();
  advance(997);
  assert.equal(read(A) & 0x80, 0);
  advance(1);
  assert.equal(read(A) & 0x80, 0x80);
  advance(2);
  assert.equal(read(A) & 0x80, 0);
  assert.equal(read(0), 0x38);
});

test('SET stops the clock while the guest sets it, and it goes on from there', () => {
  const { read, write, advance, clock } = setUp();
  write(B, 0x82);
  for (const [index, value] of [
    [CENTURY, 0x19],
    [9, 0x99],
    [8, 0x12],
    [7, 0x31],
    [4, 0x23],
    [2, 0x59],
    [0, 0x58],
  ] as const) {
    write(index, value);
  }
  advance(5000);
  assert.equal(read(0), 0x58);
  assert.equal(read(A) & 0x80, 0);
  write(B, 0x02);
  advance(2000);
  assert.deepEqual(clock(), [0x20, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00]);
});

test('the periodic interrupt comes at the rate of register A, until C is read', () => {
  const { irq, rtc, time, read, write } = setUp();
  write(A, 0x26);
  write(B, 0x42);
  assert.equal(rtc.deadline(), Math.ceil(1e9 / 1024));
  time.now = rtc.deadline();
  rtc.expire(time.now);
  assert.equal(irq.level, true);
  assert.equal(read(C), 0xc0);
  assert.equal(irq.level, false);
  assert.equal(read(C), 0x00);
  write(A, 0x21);
  assert.equal(rtc.deadline(), Math.ceil(1e9 / 256), 'rate 1 is 256 Hz, in step with the others');
  time.now = rtc.deadline();
  rtc.expire(time.now);
  assert.equal(rtc.deadline(), Math.ceil(2e9 / 256));
});

test('a register A that is written all the time does not keep the periodic interrupt away', () => {
  const { irq, rtc, time, write } = setUp();
  write(B, 0x42);
  const start = time.now;
  while (time.now < start + 976_000) {
    time.now += 100_000;
    write(A, 0x26);
  }
  assert.equal(irq.level, true);
  assert.ok(rtc.deadline() > time.now);
});

test('a divider chain that leaves its reset starts a whole period', () => {
  const { rtc, time, write } = setUp();
  write(B, 0x42);
  write(A, 0x76);
  time.now = 1_234_567;
  write(A, 0x26);
  assert.equal(rtc.deadline(), Math.ceil(time.now + 1e9 / 1024));
});

test('an alarm and an update that are due survive a new alarm time and a new time', () => {
  for (const [index, value] of [
    [1, 0x00],
    [0, 0x00],
  ] as const) {
    const { irq, read, write, time } = setUp();
    write(1, 0x38);
    write(3, 0xff);
    write(5, 0xff);
    write(B, 0x32);
    read(C);
    time.now = 1_000_000_001;
    write(index, value);
    assert.equal(irq.level, true);
    assert.equal(read(C), 0xb0 | 0x40, `after register ${index}`);
  }
});

test('the update interrupt comes with each second', () => {
  const { irq, read, write, advance } = setUp();
  write(B, 0x12);
  advance(999);
  assert.equal(irq.level, false);
  advance(1);
  assert.equal(irq.level, true);
  assert.equal(read(C) & 0x90, 0x90);
});

test('the alarm fires at its time of day, and with don’t-care codes each time it matches', () => {
  const { irq, read, write, advance } = setUp();
  read(C);
  write(1, 0x40);
  write(3, 0x58);
  write(5, 0x21);
  write(B, 0x22);
  advance(2999);
  assert.equal(irq.level, false);
  advance(1);
  assert.equal(irq.level, true);
  assert.equal(read(C) & 0xa0, 0xa0);
  advance(60_000);
  assert.equal(irq.level, false);
  write(3, 0xff);
  write(5, 0xc0);
  advance(60_000);
  assert.equal(irq.level, true);
});

test('flags are set without their enables and interrupt once those are set', () => {
  const { irq, read, write, advance } = setUp();
  read(C);
  advance(1500);
  assert.equal(irq.level, false);
  write(B, 0x12);
  assert.equal(irq.level, true);
  assert.equal(read(C) & 0x10, 0x10);
});

test('SET clears the update interrupt’s enable', () => {
  const { read, write } = setUp();
  write(B, 0x12);
  write(B, 0x92);
  assert.equal(read(B), 0x82);
});

test('memory survives a reset, interrupt enables do not; bit 7 of the index is not the clock’s', () => {
  const { rtc, read, write } = setUp();
  write(0x80 | 0x40, 0x5a);
  write(B, 0x72);
  write(D, 0);
  rtc.reset();
  assert.equal(read(0x40), 0x5a);
  assert.equal(read(B), 0x02);
  assert.equal(read(D), 0x80);
  assert.equal(rtc.readPort(0x70), 0xff);
});
