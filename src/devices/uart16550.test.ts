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
    out(MCR, uart.readPort(MCR) | RTS);
    input.write(Uint8Array.from(bytes));
    uart.pumpInput();
  };
  return { time, irq, input, output, uart, out, send };
}

test('after reset the transmitter is empty, no interrupt pends, the terminal is ready', () => {
  const { uart } = setUp();
  assert.equal(uart.readPort(LSR), 0x60);
  assert.equal(uart.readPort(IIR), 0x01);
  assert.equal(uart.readPort(MSR), 0xb0);
  assert.equal(uart.readPort(IER), 0);
});

test('the far end holds its bytes back until RTS is set', () => {
  const { uart, out, input } = setUp();
  input.write(Uint8Array.of(0x61));
  uart.pumpInput();
  assert.equal(uart.readPort(LSR) & 1, 0);
  out(FCR, 0x07);
  out(MCR, RTS);
  uart.pumpInput();
  assert.equal(uart.readPort(LSR) & 1, 1);
  assert.equal(uart.readPort(RBR), 0x61);
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
  const { uart, out, send } = setUp();
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
  assert.equal(uart.readPort(RBR), 0x33);
  assert.equal(uart.readPort(IIR), 0x02);
  assert.equal(uart.readPort(IIR), 0x00);
  assert.notEqual(uart.readPort(MSR) & 0x0f, 0);
  assert.equal(uart.readPort(IIR), 0x01);
});

test('a receiver without FIFOs takes one byte at a time, the rest stays in the ring', () => {
  const { uart, send, input } = setUp();
  send(1, 2, 3);
  assert.equal(input.length, 2);
  assert.deepEqual([uart.readPort(RBR), uart.readPort(RBR), uart.readPort(RBR)], [1, 2, 3]);
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
  assert.ok(Math.abs(deadline - (40 / 115200) * 1e9) < 2, `deadline ${deadline}`);
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

test('the interrupt reaches the machine only while OUT2 is set and loopback is off', () => {
  const { out, irq } = setUp();
  out(IER, 0x02);
  assert.equal(irq.level, false);
  out(MCR, OUT2);
  assert.equal(irq.level, true);
  out(MCR, OUT2 | 0x10);
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
