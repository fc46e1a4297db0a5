import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ByteRing, RING_HEADER_BYTES } from './byte-ring.js';
import { stateBlock } from './device.js';
import { UART_STATE_BYTES, Uart16550 } from './uart16550.js';

const BASE = 0x3f8;
const RBR = BASE;
const THR = BASE;
const IER = BASE + 1;
const IIR = BASE + 2;
const FCR = BASE + 2;
const LCR = BASE + 3;
const MCR = BASE + 4;
const LSR = BASE + 5;
const MSR = BASE + 6;
const SCR = BASE + 7;
const RTS = 0x02;
const OUT2 = 0x08;

function setUp(outputCapacity = 1024) {
  const time = { now: 0 };
  const irq = { level: false, rises: 0 };
  const ring = (capacity: number): ByteRing =>
    new ByteRing(new SharedArrayBuffer(RING_HEADER_BYTES + capacity), 0, capacity);
  const input = ring(1024);
  const output = ring(outputCapacity);
  const uart = new Uart16550(
    'uart0',
    BASE,
    stateBlock(new SharedArrayBuffer(UART_STATE_BYTES), 0, UART_STATE_BYTES),
    { now: () => time.now },
    {
      set: (level) => {
        if (level && !irq.level) irq.rises += 1;
        irq.level = level;
      },
    },
    input,
    output,
  );
  uart.reset();
  const out = (port: number, value: number): void => uart.writePort(port, 1, value);
  const send = (...bytes: number[]): void => {
    time.now += 200_000; // the line has been idle
    out(MCR, uart.readPort(MCR) | RTS);
    input.write(Uint8Array.from(bytes));
    uart.pumpInput();
  };
  /** Lets time pass to the next thing that the device does by itself. */
  const wait = (): void => {
    time.now = uart.deadline();
    assert.notEqual(time.now, Number.POSITIVE_INFINITY, 'nothing is due');
    uart.expire(time.now);
  };
  return { time, irq, input, output, uart, out, send, wait };
}

const letters = (count: number): Uint8Array =>
  Uint8Array.from({ length: count }, (_, i) => 0x20 + (i % 95));

test('after reset the transmitter is empty, no interrupt pends, the terminal is ready', () => {
  const { uart } = setUp();
  assert.equal(uart.readPort(LSR), 0x60);
  assert.equal(uart.readPort(IIR), 0x01);
  assert.equal(uart.readPort(MSR), 0xb0);
  assert.equal(uart.readPort(IER), 0);
});

test('bytes wait while a driver that has not opened the port sets it up and writes', () => {
  const { uart, out, input, output } = setUp();
  input.write(Uint8Array.of(0x61));
  for (let i = 0; i < 100; i += 1) {
    uart.pumpInput();
    assert.equal(uart.readPort(LSR), 0x60);
    out(THR, 0x2e);
  }
  out(FCR, 0x07);
  assert.equal(uart.readPort(RBR), 0);
  out(MCR, RTS);
  assert.equal(uart.readPort(LSR) & 1, 0, 'the line takes its time after a reset of the receiver');
  assert.equal(output.length, 100);
});

test('RTS lets bytes come', () => {
  const { uart, out, input } = setUp();
  input.write(Uint8Array.of(0x61));
  out(MCR, RTS);
  assert.equal(uart.readPort(LSR) & 1, 1);
  assert.equal(uart.readPort(RBR), 0x61);
});

test('a guest that polls gets its bytes without RTS', () => {
  for (const fcr of [0x00, 0x07]) {
    const { uart, out, input, time } = setUp();
    out(MCR, 0);
    out(FCR, fcr);
    const text = letters(100);
    input.write(text);
    const seen: number[] = [];
    for (let look = 0; look < 10_000; look += 1) {
      time.now += 1000;
      if ((uart.readPort(LSR) & 0x01) === 0) continue;
      seen.push(uart.readPort(RBR));
      // An echo looks for room in between.
      uart.readPort(LSR);
      out(THR, 0x2a);
    }
    assert.deepEqual(seen, [...text], `FCR ${fcr}`);
  }
});

test('a guest that enables the receiver’s interrupt gets its bytes without RTS or OUT2', () => {
  const { uart, out, input, irq, wait } = setUp();
  out(MCR, 0);
  input.write(Uint8Array.of(0x61, 0x62));
  out(IER, 0x01);
  assert.equal(uart.readPort(IIR), 0x01);
  assert.equal(uart.readPort(RBR), 0, 'reading to clear takes nothing');
  wait();
  assert.equal(irq.level, true);
  assert.equal(uart.readPort(RBR), 0x61);
  assert.equal(irq.level, false);
  wait();
  assert.equal(uart.readPort(RBR), 0x62);
});

test('however much waits, each batch is an edge of its own, with time after it', () => {
  for (const fcr of [0x00, 0x01, 0x41, 0x81, 0xc1]) {
    const { uart, out, irq, input, time, wait } = setUp();
    out(FCR, fcr);
    out(MCR, RTS | OUT2);
    out(IER, 0x01);
    const text = letters(1000);
    input.write(text);
    uart.pumpInput();
    const seen: number[] = [];
    while (seen.length < text.length) {
      while (!irq.level) wait();
      const { rises } = irq;
      const before = seen.length;
      while ((uart.readPort(LSR) & 0x01) !== 0) seen.push(uart.readPort(RBR));
      assert.ok(seen.length - before <= 16);
      assert.equal(irq.level, false, 'the line falls when the receiver is empty');
      assert.equal(irq.rises, rises);
      if (input.length > 0) assert.ok(uart.deadline() > time.now);
    }
    assert.deepEqual(seen, [...text]);
  }
});

test('a handler that returns with data ready is interrupted again', () => {
  const { uart, out, irq, input, time, wait } = setUp();
  out(FCR, 0x81);
  out(MCR, RTS | OUT2);
  out(IER, 0x01);
  input.write(letters(1000));
  uart.pumpInput();
  let taken = 0;
  while (taken < 1000) {
    while (!irq.level) wait();
    const { rises } = irq;
    // The clock runs so fast that the next batch comes while the handler reads, and it gives up.
    for (let pass = 0; pass < 5 && taken < 1000; pass += 1) {
      while ((uart.readPort(LSR) & 0x01) !== 0) {
        uart.readPort(RBR);
        taken += 1;
        time.now += 50_000;
        if (taken % 48 === 0) break;
      }
      time.now += 200_000;
      uart.readPort(IIR);
    }
    if (irq.level) assert.ok(irq.rises > rises, 'the level has risen since the handler began');
  }
});

test('a transmitter under a flood is a new edge for each byte', () => {
  const { uart, out, irq, output } = setUp(4096);
  out(FCR, 0x01);
  out(IER, 0x02);
  for (let byte = 0; byte < 2000; byte += 1) {
    const { rises } = irq;
    out(THR, byte & 0xff);
    assert.equal(irq.level, true);
    assert.equal(irq.rises, rises + 1);
  }
  assert.equal(uart.readPort(IIR) & 0x0f, 0x02);
  assert.equal(irq.level, false);
  assert.equal(output.length, 2000);
});

test('bytes written to THR reach the host in order', () => {
  const { out, output } = setUp();
  for (const byte of [0x48, 0x69]) out(THR, byte);
  assert.deepEqual([...output.read()], [0x48, 0x69]);
});

test('a full ring shows THRE clear, and the byte goes on once the host has read', () => {
  const { uart, out, output, irq } = setUp(2);
  out(MCR, OUT2);
  for (const byte of [1, 2, 3]) out(THR, byte);
  assert.equal(uart.readPort(LSR) & 0x60, 0);
  out(IER, 0x02);
  assert.equal(irq.level, false);
  assert.deepEqual([...output.read()], [1, 2]);
  uart.pumpOutput();
  assert.equal(uart.readPort(LSR) & 0x60, 0x60);
  assert.equal(irq.level, true);
  assert.deepEqual([...output.read()], [3]);
});

test('with FIFOs sixteen bytes wait behind a full ring', () => {
  const { uart, out, output } = setUp(2);
  out(FCR, 0x01);
  for (let byte = 0; byte < 18; byte += 1) out(THR, byte);
  const seen: number[] = [];
  while (output.length > 0) {
    seen.push(...output.read());
    uart.pumpOutput();
  }
  assert.deepEqual(
    seen,
    Array.from({ length: 18 }, (_, i) => i),
  );
});

test('enabling ETBEI with an empty transmitter interrupts; reading IIR clears it, a byte raises it again', () => {
  const { uart, out, irq } = setUp();
  out(MCR, OUT2);
  out(IER, 0x02);
  assert.equal(irq.level, true);
  assert.equal(uart.readPort(IIR), 0x02);
  assert.equal(irq.level, false);
  assert.equal(uart.readPort(IIR), 0x01);
  out(THR, 0x41);
  assert.equal(irq.level, true);
  assert.equal(irq.rises, 2);
  out(THR, 0x42);
  assert.equal(irq.rises, 3, 'each emptied transmitter is a new edge');
});

test('reading IIR leaves a THRE interrupt pending while a higher source is reported', () => {
  const { uart, out, send } = setUp();
  out(MCR, OUT2);
  out(IER, 0x03);
  send(0x61);
  assert.equal(uart.readPort(IIR), 0x04);
  assert.equal(uart.readPort(RBR), 0x61);
  assert.equal(uart.readPort(IIR), 0x02);
});

test('IIR reports line status, data, transmitter and modem status in that order', () => {
  const { uart, out, send, wait } = setUp();
  out(MCR, 0x10);
  out(THR, 0x11);
  out(THR, 0x22);
  out(MCR, OUT2);
  send(0x33);
  out(IER, 0x0f);
  assert.equal(uart.readPort(IIR), 0x06);
  assert.equal(uart.readPort(LSR) & 0x02, 0x02, 'overrun');
  assert.equal(uart.readPort(IIR), 0x04);
  assert.equal(uart.readPort(RBR), 0x22, 'without FIFOs the new byte destroys the old');
  wait();
  assert.equal(uart.readPort(IIR), 0x04);
  assert.equal(uart.readPort(RBR), 0x33);
  assert.equal(uart.readPort(IIR), 0x02);
  assert.equal(uart.readPort(IIR), 0x00);
  assert.notEqual(uart.readPort(MSR) & 0x0f, 0);
  assert.equal(uart.readPort(IIR), 0x01);
});

test('a receiver without FIFOs takes one byte at a time, the rest stays in the ring', () => {
  const { uart, send, input, wait } = setUp();
  send(1, 2, 3);
  assert.equal(input.length, 2);
  assert.equal(uart.readPort(RBR), 1);
  for (const byte of [2, 3]) {
    assert.equal(uart.readPort(LSR) & 0x03, 0);
    wait();
    assert.equal(uart.readPort(RBR), byte);
  }
  assert.equal(uart.readPort(LSR) & 0x03, 0);
});

test('below the trigger level the data interrupt waits four character times', () => {
  const { uart, out, irq, time, send } = setUp();
  out(MCR, OUT2);
  out(LCR, 0x03);
  out(FCR, 0xc1);
  out(IER, 0x01);
  send(1, 2, 3);
  assert.equal(irq.level, false);
  const deadline = uart.deadline();
  assert.ok(Math.abs(deadline - time.now - (40 / 115200) * 1e9) < 2, `deadline ${deadline}`);
  time.now = deadline - 1;
  uart.expire(time.now);
  assert.equal(irq.level, false);
  time.now = deadline;
  uart.expire(time.now);
  assert.equal(irq.level, true);
  assert.equal(uart.readPort(IIR), 0xcc);
  uart.readPort(RBR);
  assert.equal(uart.readPort(IIR), 0xc1);
  assert.ok(uart.deadline() > deadline, 'the two bytes left start a new timeout');
});

test('at the trigger level the data interrupt comes at once and goes below it', () => {
  const { uart, out, irq, send } = setUp();
  out(MCR, OUT2);
  out(FCR, 0x41);
  out(IER, 0x01);
  send(1, 2, 3, 4);
  assert.equal(irq.level, true);
  assert.equal(uart.readPort(IIR), 0xc4);
  uart.readPort(RBR);
  assert.equal(irq.level, false);
});

test('the divisor latch hides data and interrupt enable, and nothing else', () => {
  const { uart, out } = setUp();
  out(IER, 0x05);
  out(LCR, 0x83);
  out(BASE, 0x0c);
  out(BASE + 1, 0x01);
  assert.equal(uart.readPort(BASE), 0x0c);
  assert.equal(uart.readPort(BASE + 1), 0x01);
  out(LCR, 0x03);
  assert.equal(uart.readPort(IER), 0x05);
  out(SCR, 0xa5);
  assert.equal(uart.readPort(SCR), 0xa5);
});

test('loopback feeds modem outputs to modem inputs and the transmitter to the receiver', () => {
  const { uart, out, output } = setUp();
  out(MCR, 0x1a);
  assert.equal(uart.readPort(MSR) & 0xf0, 0x90, 'RTS and OUT2 appear as CTS and DCD');
  out(MCR, 0x15);
  assert.equal(uart.readPort(MSR) & 0xf0, 0x60, 'DTR and OUT1 appear as DSR and RI');
  out(THR, 0x5a);
  assert.equal(uart.readPort(LSR) & 0x01, 1);
  assert.equal(uart.readPort(RBR), 0x5a);
  assert.equal(output.length, 0);
});

test('MSR reads its deltas once, and ringing counts when it ends', () => {
  const { uart, out } = setUp();
  out(MCR, 0x10);
  assert.equal(uart.readPort(MSR), 0x0b);
  assert.equal(uart.readPort(MSR), 0x00);
  out(MCR, 0x14);
  assert.equal(uart.readPort(MSR), 0x40);
  out(MCR, 0x10);
  assert.equal(uart.readPort(MSR), 0x04);
});

test('the interrupt reaches the machine whatever OUT2 says', () => {
  const { out, irq } = setUp();
  out(IER, 0x02);
  assert.equal(irq.level, true);
  out(MCR, OUT2);
  assert.equal(irq.level, true);
  out(IER, 0x00);
  assert.equal(irq.level, false);
});

test('switching the FIFOs empties them; FCR cannot be read', () => {
  const { uart, out, send } = setUp();
  out(FCR, 0x01);
  send(1, 2);
  assert.equal(uart.readPort(IIR) & 0xc0, 0xc0);
  out(FCR, 0x00);
  assert.equal(uart.readPort(LSR) & 0x01, 0);
  assert.equal(uart.readPort(IIR), 0x01);
});
