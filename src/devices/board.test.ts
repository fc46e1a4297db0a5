import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PandoError } from '../error.js';
import { Board, type BoardHooks } from './board.js';
import { BOARD_STATE, BOARD_TOTAL_BYTES, checkStatePlaces } from './board-state.js';
import type { DeclaredDevice } from './declared-device.js';
import { DeviceMemory } from './device-memory.js';
import { PM_TIMER_RATE } from './rate.js';

function setUp(vcpus = 1) {
  const time = { now: 0 };
  const events: string[] = [];
  const hooks: BoardHooks = {
    onPowerOff: () => events.push('power off'),
    onReset: () => events.push('reset'),
    onBootStage: (value, at, port) =>
      events.push(`stage ${value} at ${at} by ${port.toString(16)}`),
    wake: (vcpu) => events.push(`wake ${vcpu}`),
  };
  const state = new SharedArrayBuffer(BOARD_TOTAL_BYTES);
  const attach = (): Board =>
    new Board({
      state,
      byteOffset: 0,
      vcpus,
      clock: { now: () => time.now },
      tscFrequency: 1e9,
      wallClock: () => 1.7e12 + time.now / 1e6,
      hooks,
    });
  const board = attach();
  board.reset();
  events.length = 0;
  return { time, events, state, attach, board };
}

function out(board: Board, ...writes: (readonly [number, number])[]): void {
  for (const [port, value] of writes) board.portOut(port, 1, value);
}

const INITIALIZE_PIC = [
  [0x20, 0x11],
  [0x21, 0x30],
  [0x21, 0x04],
  [0x21, 0x01],
  [0xa0, 0x11],
  [0xa1, 0x38],
  [0xa1, 0x02],
  [0xa1, 0x01],
] as const;

test('the state table holds no overlaps and fits its bytes exactly', () => {
  checkStatePlaces(BOARD_STATE, BOARD_TOTAL_BYTES);
  assert.throws(
    () => checkStatePlaces(BOARD_STATE, BOARD_TOTAL_BYTES - 1),
    (error) => error instanceof PandoError && error.code === 'BOARD_STATE_TOO_SMALL',
  );
});

test('a device whose state grows over the next one is refused', () => {
  const grown = { ...BOARD_STATE, pit: { ...BOARD_STATE.pit, bytes: BOARD_STATE.pit.bytes + 8 } };
  assert.throws(
    () => checkStatePlaces(grown, BOARD_TOTAL_BYTES),
    (error) =>
      error instanceof PandoError &&
      error.code === 'BOARD_STATE_OVERLAP' &&
      error.message.includes('"ioapic"'),
  );
  const state = new SharedArrayBuffer(BOARD_TOTAL_BYTES + 64);
  const clock = { now: () => 0 };
  const options = { state, byteOffset: 64, vcpus: 1, clock, tscFrequency: 1e9, wallClock: () => 0 };
  assert.throws(
    () => new Board({ ...options, room: BOARD_TOTAL_BYTES - 64 }),
    (error) => error instanceof PandoError && error.code === 'BOARD_STATE_TOO_SMALL',
  );
});

test('a message reaches the local APIC that its address names, and no other', () => {
  const { board, events } = setUp(2);
  for (const vcpu of [0, 1]) board.mmioWrite(vcpu, 0xfee000f0, 4, 0x1ff);
  events.length = 0;
  board.message(0xfee01000n, 0x4055);
  assert.deepEqual(events, ['wake 1']);
  assert.equal(board.pendingVector(1), 0x55);
  assert.equal(board.pendingVector(0), -1);
  board.message(0xfec01000n, 0x4056);
  board.message(0x1_fee0_0000n, 0x4057);
  assert.equal(board.pendingVector(0), -1, 'other addresses carry no interrupt');
});

test('a saved board goes on in another one, to the nanosecond', () => {
  const run = (board: Board, time: { now: number }, until: number): number[] => {
    const seen: number[] = [];
    while (time.now < until) {
      time.now = Math.min(board.nextDeadline(), until);
      board.advance(time.now);
      const vector = board.acknowledge(0);
      if (vector < 0) continue;
      seen.push(time.now, vector);
      board.portOut(0x20, 1, 0x20);
    }
    return seen;
  };
  const first = setUp();
  out(first.board, ...INITIALIZE_PIC, [0x43, 0x34], [0x40, 0xa9], [0x40, 0x04]);
  run(first.board, first.time, 3_456_789);
  const saved = first.board.save();
  const second = setUp();
  second.time.now = first.time.now;
  second.board.restore(saved);
  assert.deepEqual(
    run(second.board, second.time, 9_876_543),
    run(first.board, first.time, 9_876_543),
  );
  assert.deepEqual(second.board.save(), first.board.save());
});

test('a saved board with a part missing, damaged or of another version changes nothing', () => {
  const { board } = setUp();
  const saved = board.save();
  const [part] = saved;
  assert.ok(part);
  const before = board.save();
  for (const [code, parts] of [
    ['STATE_PART_MISSING', saved.slice(1)],
    ['STATE_PART_VERSION', [{ ...part, version: 99 }, ...saved.slice(1)]],
    ['STATE_PART_SIZE', [{ ...part, bytes: new Uint8Array(3) }, ...saved.slice(1)]],
  ] as const) {
    assert.throws(
      () => board.restore(parts),
      (error) => error instanceof PandoError && error.code === code,
    );
  }
  assert.deepEqual(board.save(), before);
});

test('a declared device answers at its place on every board, and calls its host end once', () => {
  const calls: number[] = [];
  const state = new SharedArrayBuffer(BOARD_TOTAL_BYTES);
  const memory = new DeviceMemory([{ address: 0, bytes: new Uint8Array(4096) }]);
  const declared: DeclaredDevice = {
    name: 'test0',
    version: 1,
    address: 0xd0000000,
    length: 0x1000,
    gsi: 20,
    make: ({ state: { u32 }, interrupt, ring, memory: ram }) => ({
      name: 'test0',
      reset: () => u32.fill(0),
      readMmio: (offset) => u32[offset / 4] ?? 0,
      writeMmio: (offset, _size, value) => {
        u32[offset / 4] = value;
        ram.storeU32(64, value);
        interrupt.set(true);
        interrupt.set(false);
        ring();
      },
    }),
  };
  const attach = (): Board =>
    new Board({
      state,
      byteOffset: 0,
      vcpus: 1,
      clock: { now: () => 0 },
      tscFrequency: 1e9,
      wallClock: () => 0,
      memory,
      declared: [declared],
      hooks: { onDoorbell: (device) => calls.push(device) },
    });
  const board = attach();
  board.reset();
  board.mmioWrite(0, 0xfee000f0, 4, 0x1ff);
  board.mmioWrite(0, 0xfec00000, 4, 0x10 + 2 * 20);
  board.mmioWrite(0, 0xfec00010, 4, 0x61);
  const other = attach();
  other.mmioWrite(0, 0xd0000008, 4, 0x1234);
  other.mmioWrite(0, 0xd0000008, 4, 0x5678);
  assert.equal(board.mmioRead(0, 0xd0000008, 4), 0x5678);
  assert.equal(memory.loadU32(64), 0x5678);
  assert.equal(board.pendingVector(0), 0x61);
  assert.deepEqual(calls, [0], 'one call until the host end has looked');
  assert.equal(board.takeDoorbell(0), true);
  assert.equal(board.takeDoorbell(0), false);
  assert.deepEqual(
    board
      .save()
      .find(({ name }) => name === 'test0')
      ?.bytes.slice(8, 10),
    Uint8Array.of(0x78, 0x56),
  );
});

test('the timer reaches the first vCPU through the 8259A and LINT0', () => {
  const { board, time, events } = setUp();
  out(board, ...INITIALIZE_PIC, [0x43, 0x34], [0x40, 0xa9], [0x40, 0x04]);
  assert.equal(board.pendingVector(0), -1);
  time.now = board.nextDeadline();
  assert.ok(Math.abs(time.now - 1e6) < 2000, `1193 ticks are a millisecond, not ${time.now} ns`);
  board.advance(time.now);
  assert.deepEqual(events, ['wake 0']);
  assert.equal(board.pendingVector(0), 0x30);
  assert.equal(board.acknowledge(0), 0x30);
  assert.equal(board.pendingVector(0), -1);
});

test('the timer is input 2 of the I/O APIC, the serial port input 4', () => {
  const { board, time } = setUp();
  const redirect = (pin: number, vector: number): void => {
    board.mmioWrite(0, 0xfec00000, 4, 0x10 + 2 * pin);
    board.mmioWrite(0, 0xfec00010, 4, vector);
  };
  out(board, ...INITIALIZE_PIC, [0x21, 0xff], [0xa1, 0xff]);
  redirect(2, 0x50);
  redirect(4, 0x64);
  out(board, [0x43, 0x30], [0x40, 10], [0x40, 0]);
  time.now = board.nextDeadline();
  board.advance(time.now);
  assert.equal(board.acknowledge(0), 0x50);
  out(board, [0x3fc, 0x08], [0x3f9, 0x02]);
  assert.equal(board.acknowledge(0), 0x64, 'a higher class preempts');
  assert.equal(board.acknowledge(0), -1);
});

test('console bytes go both ways', () => {
  const { board } = setUp();
  for (const byte of new TextEncoder().encode('boot')) board.portOut(0x3f8, 1, byte);
  assert.equal(new TextDecoder().decode(board.serialOutput.read()), 'boot');
  board.serialInput.write(Uint8Array.of(0x0d));
  board.pumpInput();
  assert.equal(board.portIn(0x3fd, 1) & 1, 0, 'the port is not open: RTS is off');
  board.portOut(0x3fc, 1, 0x0b);
  board.pumpInput();
  assert.equal(board.portIn(0x3fd, 1) & 1, 1);
  assert.equal(board.portIn(0x3f8, 1), 0x0d);
});

test('S5 powers off, other sleep types do not; three ways to reset', () => {
  const { board, events } = setUp();
  assert.equal(board.portIn(0x604, 2), 0x0001, 'always in ACPI mode');
  board.portOut(0x604, 2, 0x2000 | (1 << 10));
  assert.deepEqual(events, []);
  board.portOut(0x604, 2, 0x2000 | (5 << 10));
  assert.deepEqual(events.splice(0), ['power off']);
  assert.equal(board.portIn(0x64, 1) & 0x03, 0, 'both buffers empty');
  out(board, [0x64, 0xfe]);
  out(board, [0x64, 0xd1], [0x60, 0xfe]);
  out(board, [0xcf9, 0x02], [0xcf9, 0x06]);
  assert.deepEqual(events.splice(0), ['reset', 'reset', 'reset']);
  out(board, [0x64, 0xff], [0x64, 0xad], [0x64, 0xd1], [0x60, 0xff], [0xcf9, 0x02]);
  board.portOut(0xcf8, 4, 0x80000400);
  board.portOut(0xcf8, 2, 0x0600);
  assert.deepEqual(events, [], 'probing for PCI at CF8h is not a reset');
});

test('the PM timer runs at 3.579545 MHz, and its turn and the power button raise SCI', () => {
  const { board, time, events } = setUp();
  time.now = 1e9;
  assert.equal(board.portIn(0x608, 4), 3579545);
  board.mmioWrite(0, 0xfec00000, 4, 0x10 + 2 * 9);
  board.mmioWrite(0, 0xfec00010, 4, 0x8059);
  board.pressPowerButton();
  assert.equal(board.pendingVector(0), -1);
  board.portOut(0x602, 2, 0x0101);
  assert.equal(board.acknowledge(0), 0x59);
  assert.equal(board.portIn(0x600, 2), 0x0100);
  board.portOut(0x600, 2, 0x0100);
  assert.equal(board.portIn(0x600, 2), 0);
  board.mmioWrite(0, 0xfee000b0, 4, 0);
  assert.equal(board.pendingVector(0), -1);
  events.length = 0;
  time.now = PM_TIMER_RATE.timeOf(2 ** 31);
  assert.equal(board.nextDeadline(), time.now);
  board.advance(time.now);
  assert.equal(board.portIn(0x600, 2), 0x0001);
  assert.equal(board.acknowledge(0), 0x59);
  assert.equal(board.nextDeadline(), Number.POSITIVE_INFINITY);
});

test('a generation ID that has changed is general-purpose event 0, which raises SCI', () => {
  const { board } = setUp();
  board.mmioWrite(0, 0xfec00000, 4, 0x10 + 2 * 9);
  board.mmioWrite(0, 0xfec00010, 4, 0x8059);
  board.generationChanged();
  assert.equal(board.portIn(0x60c, 4), 1);
  assert.equal(board.pendingVector(0), -1, 'not enabled');
  board.portOut(0x60e, 2, 1);
  assert.equal(board.acknowledge(0), 0x59);
  board.portOut(0x60c, 1, 1);
  assert.equal(board.portIn(0x60c, 4), 0x10000);
  board.mmioWrite(0, 0xfee000b0, 4, 0);
  assert.equal(board.pendingVector(0), -1);
});

test('a turn of the PM timer that is due is reported before it is cleared or masked', () => {
  const { board, time } = setUp();
  board.mmioWrite(0, 0xfec00000, 4, 0x10 + 2 * 9);
  board.mmioWrite(0, 0xfec00010, 4, 0x0059);
  board.portOut(0x602, 2, 0x0001);
  time.now = PM_TIMER_RATE.timeOf(2 ** 31) + 5;
  board.portOut(0x602, 2, 0x0000);
  assert.equal(board.acknowledge(0), 0x59);
  assert.equal(board.portIn(0x600, 2), 0x0001);
});

test('port 61h gates the speaker timer and shows its output and the refresh toggle', () => {
  const { board, time } = setUp();
  out(board, [0x61, 0x01], [0x43, 0xb0], [0x42, 100], [0x42, 0]);
  assert.equal(board.portIn(0x61, 1) & 0x21, 0x01);
  time.now = 100_000;
  assert.equal(board.portIn(0x61, 1) & 0x21, 0x21);
  const toggles = new Set<number>();
  for (let us = 0; us < 40; us += 5) {
    time.now = 200_000 + us * 1000;
    toggles.add(board.portIn(0x61, 1) & 0x10);
  }
  assert.equal(toggles.size, 2);
});

test('boot stages are reported with guest time, whatever the value', () => {
  const { board, time, events } = setUp();
  time.now = 42;
  out(board, [0xf4, 6], [0xf5, 7], [0xf4, 123]);
  assert.deepEqual(events, ['stage 6 at 42 by f4', 'stage 7 at 42 by f5', 'stage 123 at 42 by f4']);
  assert.equal(board.portIn(0xf4, 1), 0xff);
});

test('what the program of a guest ended with is kept until a reset, and is no stage', () => {
  const { board, events } = setUp();
  assert.equal(board.guestStatus, undefined);
  out(board, [0xf6, 0]);
  assert.equal(board.guestStatus, 0);
  out(board, [0xf6, 137]);
  assert.equal(board.guestStatus, 137);
  assert.deepEqual(events, []);
  board.reset();
  assert.equal(board.guestStatus, undefined);
});

test('the diagnostic port keeps a byte; what is not there reads all-ones', () => {
  const { board } = setUp();
  out(board, [0x80, 0x5a]);
  assert.equal(board.portIn(0x80, 1), 0x5a);
  assert.equal(board.portIn(0xcfc, 4), 0xffffffff);
  assert.equal(board.portIn(0x2f8, 1), 0xff);
  assert.equal(board.mmioRead(0, 0xfed00000, 4), 0xffffffff);
});

test('each vCPU sees its own local APIC, and none in x2APIC mode', () => {
  const { board } = setUp(2);
  assert.equal(board.mmioRead(0, 0xfee00020, 4), 0);
  assert.equal(board.mmioRead(1, 0xfee00020, 4), 0x01000000);
  assert.equal(board.writeMsr(1, 0x1b, 0xfee00c00n), true);
  assert.equal(board.readMsr(1, 0x802), 1n);
  assert.equal(board.mmioRead(1, 0xfee00020, 4), 0xffffffff);
  assert.equal(board.readMsr(0, 0x802), undefined);
  assert.equal(board.readMsr(0, 0x1a0), undefined, 'not the board’s');
});

test('an IPI wakes its target after the lock is released', () => {
  const { board, events } = setUp(2);
  board.mmioWrite(1, 0xfee000f0, 4, 0x1ff);
  events.length = 0;
  board.mmioWrite(0, 0xfee00310, 4, 1 << 24);
  board.mmioWrite(0, 0xfee00300, 4, 0x4500);
  assert.deepEqual(events.splice(0), ['wake 1']);
  assert.equal(board.takeInit(1), true);
  assert.equal(board.waitsForSipi(1), true);
  board.mmioWrite(0, 0xfee00300, 4, 0x4608);
  assert.deepEqual(events, ['wake 1']);
  assert.equal(board.takeSipi(1), 8);
});

test('a hook may call the board again', () => {
  const state = new SharedArrayBuffer(BOARD_TOTAL_BYTES);
  const seen: number[] = [];
  const board: Board = new Board({
    state,
    byteOffset: 0,
    vcpus: 1,
    clock: { now: () => 0 },
    tscFrequency: 1e9,
    wallClock: () => 0,
    hooks: {
      onReset: () => {
        board.reset();
        seen.push(board.portIn(0x21, 1));
      },
    },
  });
  board.reset();
  out(board, ...INITIALIZE_PIC, [0x21, 0xaa], [0x64, 0xfe]);
  assert.deepEqual(seen, [0xff]);
});

test('an access that fails gives the lock back', () => {
  const { board } = setUp();
  const missing = 7;
  const accesses = [
    () => board.takeNmi(missing),
    () => board.takeInit(missing),
    () => board.takeSipi(missing),
    () => board.acknowledge(missing),
  ];
  for (const [value, access] of accesses.entries()) {
    assert.throws(() => access());
    board.portOut(0x80, 1, value);
    assert.equal(board.portIn(0x80, 1), value);
  }
});

test('the NMI button and CR8 reach the local APIC', () => {
  const { board, events } = setUp();
  board.injectNmi();
  assert.deepEqual(events, ['wake 0']);
  assert.equal(board.pendingNmi(0), true);
  assert.equal(board.takeNmi(0), true);
  board.writeCr8(0, 0xf);
  assert.equal(board.readCr8(0), 0xf);
  assert.equal(board.mmioRead(0, 0xfee00080, 4), 0xf0);
});

test('a reset brings back the state after power-on', () => {
  const { board, state, time } = setUp();
  const fresh = new Uint8Array(state).slice(0, BOARD_STATE.serialInput.offset);
  out(board, ...INITIALIZE_PIC, [0x43, 0x34], [0x40, 1], [0x40, 1], [0x3fb, 0x80], [0x61, 3]);
  board.writeMsr(0, 0x1b, 0xfee00d00n);
  board.mmioWrite(0, 0xfec00000, 4, 0x14);
  board.mmioWrite(0, 0xfec00010, 4, 0x8044);
  board.portOut(0x602, 2, 0x0101);
  board.pressPowerButton();
  board.advance(time.now);
  board.reset();
  assert.deepEqual(new Uint8Array(state).slice(0, BOARD_STATE.serialInput.offset), fresh);
});

test('boards over the same state are one machine: any of them may take any access', () => {
  let seed = 12345;
  const random = (limit: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return Math.floor((seed / 2 ** 32) * limit);
  };
  const single = setUp(2);
  const shared = setUp(2);
  const boards = [shared.board, shared.attach(), shared.attach()];
  const ports = [
    0x20, 0x21, 0xa0, 0xa1, 0x40, 0x41, 0x42, 0x43, 0x61, 0x64, 0x70, 0x71, 0x80, 0x4d0, 0x3f8,
    0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x600, 0x602, 0x604, 0x608, 0xf4,
  ];
  const memory = [
    0xfec00000, 0xfec00010, 0xfee00080, 0xfee000b0, 0xfee000f0, 0xfee00300, 0xfee00320, 0xfee00350,
    0xfee00380, 0xfee003e0,
  ];
  for (let step = 0; step < 20_000; step += 1) {
    const choice = random(10);
    const port = ports[random(ports.length)]!;
    const address = memory[random(memory.length)]!;
    const vcpu = random(2);
    const size = [1, 2, 4][random(3)]!;
    const value = random(2) === 0 ? random(2 ** 20) : random(256);
    const wait = random(2_000_000);
    const act = (board: Board, machine: typeof single): unknown => {
      switch (choice) {
        case 0:
        case 1:
          return board.portIn(port, size);
        case 2:
        case 3:
          return board.portOut(port, size, value);
        case 4:
          return board.mmioRead(vcpu, address, 4);
        case 5:
          return board.mmioWrite(vcpu, address, 4, value);
        case 6:
          return board.acknowledge(vcpu);
        case 7:
          board.serialInput.push(value);
          board.pumpInput();
          return [...board.serialOutput.read()];
        case 8:
          return [board.nextDeadline(), board.pendingVector(vcpu), board.takeNmi(vcpu)];
        default:
          machine.time.now += wait;
          return board.advance(machine.time.now);
      }
    };
    const expected = act(single.board, single);
    const actual = act(boards[random(boards.length)]!, shared);
    assert.deepEqual(actual, expected, `step ${step}`);
  }
  assert.deepEqual(shared.events, single.events);
  assert.deepEqual(new Uint8Array(shared.state), new Uint8Array(single.state));
  assert.ok(single.events.some((event) => event === 'wake 0'));
});

test('impossible boards are refused by code', () => {
  const options = {
    state: new SharedArrayBuffer(BOARD_TOTAL_BYTES),
    byteOffset: 0,
    vcpus: 1,
    clock: { now: () => 0 },
    tscFrequency: 1e9,
    wallClock: () => 0,
  };
  for (const [change, code] of [
    [{ vcpus: 0 }, 'BOARD_VCPUS_INVALID'],
    [{ vcpus: 241 }, 'BOARD_VCPUS_INVALID'],
    [{ byteOffset: 64 }, 'BOARD_STATE_TOO_SMALL'],
    [{ byteOffset: 8 }, 'BOARD_STATE_TOO_SMALL'],
  ] as const) {
    assert.throws(
      () => new Board({ ...options, ...change }),
      (error) => error instanceof PandoError && error.code === code,
    );
  }
  assert.equal(new Board({ ...options, vcpus: 240 }).vcpus, 240);
});
