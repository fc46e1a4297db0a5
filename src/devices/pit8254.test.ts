import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stateBlock } from './device.js';
import { PIT_STATE_BYTES, Pit8254 } from './pit8254.js';
import { PIT_RATE } from './rate.js';

function setUp() {
  const time = { now: 0 };
  const irq = { level: false, rises: 0 };
  const pit = new Pit8254(
    stateBlock(new SharedArrayBuffer(PIT_STATE_BYTES), 0, PIT_STATE_BYTES),
    { now: () => time.now },
    {
      set: (level) => {
        if (level && !irq.level) irq.rises += 1;
        irq.level = level;
      },
    },
  );
  pit.reset();
  const out = (port: number, value: number): void => pit.writePort(port, 1, value);
  const at = (tick: number): void => {
    time.now = PIT_RATE.timeOf(tick);
  };
  /** Programs a counter for a 16-bit count at the tick that it is now. */
  const program = (counter: number, mode: number, count: number, bcd = 0): void => {
    out(0x43, (counter << 6) | 0x30 | (mode << 1) | bcd);
    out(0x40 + counter, count & 0xff);
    out(0x40 + counter, count >>> 8);
  };
  const read = (counter: number): number => {
    out(0x43, counter << 6);
    return pit.readPort(0x40 + counter) | (pit.readPort(0x40 + counter) << 8);
  };
  return { time, irq, pit, out, at, program, read };
}

test('mode 0 raises OUT when the count is over, and counts on past zero', () => {
  const { pit, program, at, read, irq } = setUp();
  program(0, 0, 100);
  assert.equal(irq.level, false);
  at(1);
  assert.equal(read(0), 100, 'loaded one clock after the write');
  at(41);
  assert.equal(read(0), 60);
  assert.equal(pit.deadline(), PIT_RATE.timeOf(101));
  at(100);
  pit.expire(PIT_RATE.timeOf(100));
  assert.equal(irq.level, false);
  at(101);
  pit.expire(PIT_RATE.timeOf(101));
  assert.equal(irq.level, true);
  assert.equal(pit.output(0), true);
  assert.equal(pit.deadline(), Number.POSITIVE_INFINITY);
  at(102);
  assert.equal(read(0), 0xffff);
});

test('mode 2 divides: one rising edge a period, late ones merge, the phase stays', () => {
  const { pit, program, at, irq, read } = setUp();
  program(0, 2, 1000);
  assert.equal(pit.deadline(), PIT_RATE.timeOf(1001));
  at(1001);
  pit.expire(PIT_RATE.timeOf(1001));
  assert.equal(irq.rises, 1);
  assert.equal(read(0), 1000);
  at(4501);
  pit.expire(PIT_RATE.timeOf(4501));
  assert.equal(irq.rises, 2);
  assert.equal(pit.deadline(), PIT_RATE.timeOf(5001));
});

test('mode 2 OUT is low for the last clock of the period', () => {
  const { pit, program, at } = setUp();
  pit.setGate(2, true);
  program(2, 2, 10);
  at(9);
  assert.equal(pit.output(2), true);
  at(10);
  assert.equal(pit.output(2), false);
  at(11);
  assert.equal(pit.output(2), true);
});

test('a count written in mode 2 takes effect at the end of the period', () => {
  const { program, at, read, out } = setUp();
  program(1, 2, 100);
  at(51);
  out(0x41, 200);
  out(0x41, 0);
  assert.equal(read(1), 50);
  at(101);
  assert.equal(read(1), 200);
  at(301);
  assert.equal(read(1), 200);
});

test('mode 3 counts by two; an odd count is high for one clock longer', () => {
  const { pit, program, at, read } = setUp();
  pit.setGate(2, true);
  program(2, 3, 5);
  const levels: boolean[] = [];
  const counts: number[] = [];
  for (let tick = 1; tick <= 5; tick += 1) {
    at(tick);
    levels.push(pit.output(2));
    counts.push(read(2));
  }
  assert.deepEqual(levels, [true, true, true, false, false]);
  assert.deepEqual(counts, [4, 2, 0, 4, 2]);
});

test('mode 4 strobes low for one clock', () => {
  const { pit, program, at } = setUp();
  pit.setGate(2, true);
  program(2, 4, 3);
  const levels = [1, 2, 3, 4, 5].map((tick) => {
    at(tick);
    return pit.output(2);
  });
  assert.deepEqual(levels, [true, true, true, false, true]);
});

test('mode 1 is triggered by the gate, and again by another trigger', () => {
  const { pit, program, at } = setUp();
  program(2, 1, 10);
  at(50);
  assert.equal(pit.output(2), true);
  pit.setGate(2, true);
  at(55);
  assert.equal(pit.output(2), false);
  pit.setGate(2, false);
  assert.equal(pit.output(2), false, 'a falling gate does not end the pulse');
  pit.setGate(2, true);
  at(65);
  assert.equal(pit.output(2), false);
  at(66);
  assert.equal(pit.output(2), true);
});

test('mode 5 strobes after a trigger', () => {
  const { pit, program, at } = setUp();
  program(2, 5, 4);
  at(20);
  assert.equal(pit.output(2), true);
  pit.setGate(2, true);
  at(25);
  assert.equal(pit.output(2), false);
  at(26);
  assert.equal(pit.output(2), true);
});

test('a low gate pauses mode 0, and stops modes 2 and 3 with OUT high', () => {
  const { pit, program, at, read } = setUp();
  pit.setGate(2, true);
  program(2, 0, 100);
  at(31);
  pit.setGate(2, false);
  at(500);
  assert.equal(read(2), 70);
  pit.setGate(2, true);
  at(569);
  assert.equal(pit.output(2), false);
  at(570);
  assert.equal(pit.output(2), true);

  program(2, 3, 100);
  at(570 + 80);
  assert.equal(pit.output(2), false);
  pit.setGate(2, false);
  assert.equal(pit.output(2), true);
  at(1000);
  pit.setGate(2, true);
  at(1001);
  assert.equal(read(2), 100, 'the rising gate reloads');
});

test('BCD counts in decimal, and 0 means 10000', () => {
  const { program, at, read } = setUp();
  program(1, 2, 0x1234, 1);
  at(1 + 35);
  assert.equal(read(1), 0x1199);
  program(1, 0, 0, 1);
  at(36 + 2);
  assert.equal(read(1), 0x9999);
});

test('a count of 0 means 65536', () => {
  const { pit, program } = setUp();
  program(0, 2, 0);
  assert.equal(pit.deadline(), PIT_RATE.timeOf(65537));
});

test('a latched count stands until both bytes are read; a second latch does not replace it', () => {
  const { pit, program, at, out, read } = setUp();
  program(1, 2, 0x1000);
  at(1);
  out(0x43, 0x40);
  at(0x101);
  out(0x43, 0x40);
  assert.equal(pit.readPort(0x41), 0x00);
  assert.equal(pit.readPort(0x41), 0x10);
  assert.equal(read(1), 0x0f00);
});

test('read-back latches status before count, for several counters at once', () => {
  const { pit, program, at, out } = setUp();
  program(0, 2, 0x200);
  out(0x43, 0x70);
  at(17);
  out(0x43, 0xc6);
  assert.equal(pit.readPort(0x40), 0x80 | 0x34, 'OUT high, count loaded, mode 2, two bytes');
  assert.equal(pit.readPort(0x40) | (pit.readPort(0x40) << 8), 0x1f0);
  assert.equal(pit.readPort(0x41), 0x40 | 0x30, 'OUT low, null count, mode 0');
});

/** Everything that a guest can do with the timer, and that is no new count for counter 0. */
const looks: Readonly<Record<string, (machine: ReturnType<typeof setUp>) => void>> = {
  'a latch command': ({ out }) => out(0x43, 0x00),
  'a read': ({ pit }) => pit.readPort(0x40),
  'a read-back command': ({ out }) => out(0x43, 0xe2),
  'a control word for counter 2': ({ out }) => out(0x43, 0xb0),
  'a count for counter 2': ({ program }) => program(2, 0, 50),
  'the gate of counter 2': ({ pit }) => {
    pit.setGate(2, true);
    pit.setGate(2, false);
  },
  'the output of counter 2': ({ pit }) => pit.output(2),
};

for (const [name, look] of Object.entries(looks)) {
  test(`an edge that is due is not lost by ${name}`, () => {
    for (const mode of [0, 4]) {
      for (const count of [2, 15, 200]) {
        const machine = setUp();
        machine.program(0, mode, count);
        machine.at(count + 5);
        look(machine);
        assert.equal(machine.irq.rises, 1, `mode ${mode}, count ${count}`);
        assert.equal(machine.pit.deadline(), Number.POSITIVE_INFINITY);
      }
    }
    for (const mode of [2, 3]) {
      const machine = setUp();
      machine.program(0, mode, 100);
      for (let period = 1; period <= 10; period += 1) {
        machine.at(100 * period + 7);
        look(machine);
        assert.equal(machine.irq.rises, period, `mode ${mode}`);
      }
    }
  });
}

test('a clock that goes on during an access loses no edge', () => {
  const machine = setUp();
  const step = PIT_RATE.timeOf(1) / 3;
  let rises = 0;
  Object.defineProperty(machine.time, 'now', {
    get() {
      rises += 1;
      return rises * step;
    },
  });
  for (let shot = 1; shot <= 50; shot += 1) {
    machine.program(0, 4, 2 + (shot % 7));
    for (let look = 0; look < 60; look += 1) machine.out(0x43, look % 2 === 0 ? 0x00 : 0xe2);
    assert.equal(machine.irq.rises, shot);
  }
});

test('programming counter 0 anew delivers the edge that the old count owed', () => {
  const { irq, program, at, pit } = setUp();
  program(0, 4, 20);
  at(40);
  program(0, 4, 20);
  assert.equal(irq.rises, 1);
  assert.equal(pit.deadline(), PIT_RATE.timeOf(40 + 1 + 20 + 1));
});

test('the control word register cannot be read', () => {
  const { pit } = setUp();
  assert.equal(pit.readPort(0x43), 0xff);
});

test('single-byte access reads and writes one byte', () => {
  const { pit, out, at } = setUp();
  out(0x43, 0x54);
  out(0x41, 18);
  at(4);
  assert.equal(pit.readPort(0x41), 15);
  out(0x43, 0x64);
  out(0x41, 2);
  at(5);
  assert.equal(pit.readPort(0x41), 2);
});
