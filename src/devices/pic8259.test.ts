import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stateBlock } from './device.js';
import { PIC_STATE_BYTES, Pic8259 } from './pic8259.js';

function setUp(icw4 = 0x01) {
  const output = { level: false };
  const pic = new Pic8259(stateBlock(new SharedArrayBuffer(PIC_STATE_BYTES), 0, PIC_STATE_BYTES), {
    set: (level) => {
      output.level = level;
    },
  });
  pic.reset();
  const out = (port: number, value: number): void => pic.writePort(port, 1, value);
  for (const [base, vector, icw3] of [
    [0x20, 0x30, 0x04],
    [0xa0, 0x38, 0x02],
  ] as const) {
    out(base, 0x11);
    out(base + 1, vector);
    out(base + 1, icw3);
    out(base + 1, icw4);
  }
  const isr = (base: number): number => {
    out(base, 0x0b);
    return pic.readPort(base);
  };
  const irr = (base: number): number => {
    out(base, 0x0a);
    return pic.readPort(base);
  };
  return { pic, output, out, isr, irr };
}

test('a rising input requests, INTA gives its vector and puts it in service', () => {
  const { pic, output, isr, irr } = setUp();
  pic.setLine(4, true);
  assert.equal(output.level, true);
  assert.equal(irr(0x20), 0x10);
  assert.equal(pic.peek(), 0x34);
  assert.equal(pic.acknowledge(), 0x34);
  assert.equal(output.level, false);
  assert.equal(isr(0x20), 0x10);
  assert.equal(irr(0x20), 0x00);
});

test('a lower interrupt waits for EOI, a higher one does not', () => {
  const { pic, output, out } = setUp();
  pic.setLine(3, true);
  pic.acknowledge();
  pic.setLine(5, true);
  assert.equal(output.level, false);
  pic.setLine(1, true);
  assert.equal(pic.acknowledge(), 0x31);
  out(0x20, 0x20);
  assert.equal(output.level, false, 'IRQ 3 is still in service');
  out(0x20, 0x20);
  assert.equal(pic.acknowledge(), 0x35);
});

test('the slave’s interrupts go through input 2, and both chips want an EOI', () => {
  const { pic, output, out, isr } = setUp();
  pic.setLine(8, true);
  assert.equal(pic.acknowledge(), 0x38);
  assert.equal(isr(0x20), 0x04);
  assert.equal(isr(0xa0), 0x01);
  pic.setLine(12, true);
  out(0xa0, 0x20);
  assert.equal(output.level, false, 'the master still has input 2 in service');
  out(0x20, 0x20);
  assert.equal(pic.acknowledge(), 0x3c);
});

test('two slave requests at once are both delivered, also with automatic EOI', () => {
  for (const icw4 of [0x01, 0x03]) {
    const { pic, out } = setUp(icw4);
    pic.setLine(9, true);
    pic.setLine(14, true);
    assert.equal(pic.acknowledge(), 0x39);
    if (icw4 === 0x01) {
      out(0xa0, 0x20);
      out(0x20, 0x20);
    }
    assert.equal(pic.requesting, true);
    assert.equal(pic.acknowledge(), 0x3e);
  }
});

test('a masked request waits, and unmasking delivers it', () => {
  const { pic, output, out } = setUp();
  out(0x21, 0x10);
  pic.setLine(4, true);
  assert.equal(output.level, false);
  assert.equal(pic.readPort(0x21), 0x10);
  out(0x21, 0x00);
  assert.equal(output.level, true);
});

test('an input that falls before INTA gives the spurious vector 7, with nothing in service', () => {
  const { pic, isr } = setUp();
  pic.setLine(4, true);
  pic.setLine(4, false);
  assert.equal(pic.requesting, false);
  assert.equal(pic.acknowledge(), 0x37);
  assert.equal(isr(0x20), 0);
});

test('a slave input that falls takes the master’s request with it', () => {
  const { pic, isr } = setUp();
  pic.setLine(14, true);
  assert.equal(pic.requesting, true);
  pic.setLine(14, false);
  assert.equal(pic.requesting, false);
  assert.equal(pic.acknowledge(), 0x37);
  assert.equal(isr(0x20), 0);
  assert.equal(isr(0xa0), 0);
});

test('an edge-triggered input that stays high requests once, a level-triggered one again and again', () => {
  const { pic, out } = setUp();
  pic.setLine(5, true);
  pic.acknowledge();
  out(0x20, 0x20);
  assert.equal(pic.requesting, false);
  out(0x4d0, 0xff);
  assert.equal(pic.readPort(0x4d0), 0xf8, 'the timer, keyboard and cascade stay edge triggered');
  out(0x4d1, 0xff);
  assert.equal(pic.readPort(0x4d1), 0xde);
  assert.equal(pic.requesting, true);
  assert.equal(pic.acknowledge(), 0x35);
  out(0x20, 0x20);
  assert.equal(pic.requesting, true);
  pic.setLine(5, false);
  assert.equal(pic.requesting, false);
});

test('ICW1 clears masks and latched edges: an input must fall and rise again', () => {
  const { pic, out } = setUp();
  out(0x21, 0xff);
  pic.setLine(3, true);
  out(0x20, 0x11);
  out(0x21, 0x40);
  out(0x21, 0x04);
  out(0x21, 0x01);
  assert.equal(pic.readPort(0x21), 0);
  assert.equal(pic.requesting, false);
  pic.setLine(3, false);
  pic.setLine(3, true);
  assert.equal(pic.acknowledge(), 0x43);
});

test('automatic EOI leaves nothing in service, and can rotate', () => {
  const { pic, out, isr } = setUp(0x03);
  out(0x20, 0x80);
  pic.setLine(3, true);
  assert.equal(pic.acknowledge(), 0x33);
  assert.equal(isr(0x20), 0);
  // Input 3 now has the lowest priority.
  pic.setLine(3, false);
  pic.setLine(3, true);
  pic.setLine(4, true);
  assert.equal(pic.acknowledge(), 0x34);
});

test('rotation: on non-specific EOI, on specific EOI, and by command', () => {
  const { pic, out, isr } = setUp();
  pic.setLine(4, true);
  pic.acknowledge();
  out(0x20, 0xa0);
  pic.setLine(0, true);
  pic.setLine(5, true);
  assert.equal(pic.acknowledge(), 0x35, 'after 4 comes 5');
  out(0x20, 0xe5);
  assert.equal(isr(0x20), 0);
  pic.setLine(6, true);
  assert.equal(pic.acknowledge(), 0x36);
  out(0x20, 0x66);
  out(0x20, 0xc7);
  assert.equal(pic.acknowledge(), 0x30, '7 lowest, 0 highest again');
});

test('special mask mode lets lower inputs through a masked one in service', () => {
  const { pic, out, isr } = setUp();
  pic.setLine(1, true);
  pic.acknowledge();
  pic.setLine(6, true);
  out(0x21, 0x02);
  assert.equal(pic.requesting, false);
  out(0x20, 0x68);
  assert.equal(pic.acknowledge(), 0x36);
  out(0x20, 0x20);
  assert.equal(isr(0x20), 0x02, 'non-specific EOI spares the masked bit');
  out(0x20, 0x61);
  assert.equal(isr(0x20), 0);
  out(0x20, 0x48);
});

test('special fully nested mode lets the slave interrupt itself at the master', () => {
  const { pic } = setUp(0x11);
  pic.setLine(12, true);
  assert.equal(pic.acknowledge(), 0x3c);
  pic.setLine(9, true);
  assert.equal(pic.acknowledge(), 0x39);
});

test('poll reads the request, puts it in service, and says when there is none', () => {
  const { pic, out, isr } = setUp();
  pic.setLine(6, true);
  out(0x20, 0x0c);
  assert.equal(pic.readPort(0x20), 0x86);
  assert.equal(isr(0x20), 0x40);
  out(0x20, 0x0c);
  assert.equal(pic.readPort(0x20), 0x00);
});
