import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApicBus, DELIVERY } from './apic-bus.js';
import { stateBlock } from './device.js';
import { IOAPIC_STATE_BYTES, IoApic } from './ioapic.js';
import { LOCAL_APIC_STATE_BYTES, LocalApic } from './local-apic.js';
import { Rate } from './rate.js';

function setUp(count = 1, frequency = 1e9) {
  const time = { now: 0 };
  const bus = new ApicBus();
  const woken: number[] = [];
  const state = (bytes: number) => stateBlock(new SharedArrayBuffer(bytes), 0, bytes);
  const ioapic = new IoApic(state(IOAPIC_STATE_BYTES), bus);
  const apics = Array.from({ length: count }, (_, id) => {
    const apic = new LocalApic(id, state(LOCAL_APIC_STATE_BYTES), {
      clock: { now: () => time.now },
      rate: new Rate(frequency),
      frequency,
      bus,
      physicalAddressBits: 40,
      endOfInterrupt: (vector) => ioapic.endOfInterrupt(vector),
      changed: (vcpu) => woken.push(vcpu),
    });
    bus.attach(apic);
    apic.reset();
    apic.writeMmio(0xf0, 4, 0x1ff);
    return apic;
  });
  ioapic.reset();
  const redirect = (pin: number, low: number, destination: number): void => {
    ioapic.writeMmio(0, 4, 0x11 + 2 * pin);
    ioapic.writeMmio(0x10, 4, destination << 24);
    ioapic.writeMmio(0, 4, 0x10 + 2 * pin);
    ioapic.writeMmio(0x10, 4, low);
  };
  const entry = (pin: number): number => {
    ioapic.writeMmio(0, 4, 0x10 + 2 * pin);
    return ioapic.readMmio(0x10, 4);
  };
  return { time, bus, apics, apic: apics[0]!, ioapic, redirect, entry, woken };
}

const take = (apic: LocalApic): number => {
  const vector = apic.pendingVector();
  if (vector >= 0) apic.acknowledge(vector);
  return vector;
};
const eoi = (apic: LocalApic): void => apic.writeMmio(0xb0, 4, 0);
const X2APIC_BASE = 0xfee00d00n;

test('reset values are the manual’s', () => {
  const { apics } = setUp(2);
  const apic = apics[1]!;
  apic.reset();
  assert.equal(apic.readMmio(0x20, 4), 0x01000000);
  assert.equal(apic.readMmio(0x30, 4), 0x00050014);
  assert.equal(apic.readMmio(0xe0, 4), 0xffffffff);
  assert.equal(apic.readMmio(0xf0, 4), 0xff);
  for (let lvt = 0x320; lvt <= 0x370; lvt += 0x10) assert.equal(apic.readMmio(lvt, 4), 0x10000);
  assert.equal(apic.base, 0xfee00800n);
  assert.equal(apics[0]!.base, 0xfee00900n);
});

test('a higher class preempts, a lower one waits for EOI', () => {
  const { apic } = setUp();
  apic.receive(DELIVERY.fixed, 0x41, false);
  assert.equal(take(apic), 0x41);
  apic.receive(DELIVERY.fixed, 0x4f, false);
  assert.equal(take(apic), -1, 'same class');
  apic.receive(DELIVERY.fixed, 0x50, false);
  assert.equal(take(apic), 0x50);
  assert.equal(apic.readMmio(0xa0, 4), 0x50);
  eoi(apic);
  assert.equal(take(apic), -1);
  eoi(apic);
  assert.equal(take(apic), 0x4f);
});

test('TPR holds back its class and those below', () => {
  const { apic } = setUp();
  apic.writeMmio(0x80, 4, 0x45);
  apic.receive(DELIVERY.fixed, 0x4f, false);
  assert.equal(apic.pendingVector(), -1);
  assert.equal(apic.readMmio(0xa0, 4), 0x45);
  apic.taskPriority = 0x3f;
  assert.equal(apic.pendingVector(), 0x4f);
});

test('vectors below 16 are errors: received, and sent', () => {
  const { apic } = setUp();
  apic.writeMmio(0x370, 4, 0xfe);
  assert.equal(apic.receive(DELIVERY.fixed, 0x0f, false), false);
  assert.equal(apic.pendingVector(), 0xfe);
  assert.equal(apic.readMmio(0x280, 4), 0, 'ESR shows errors only after a write');
  apic.writeMmio(0x280, 4, 0);
  assert.equal(apic.readMmio(0x280, 4), 0x40);
  apic.writeMmio(0x300, 4, 0x40008);
  apic.readMmio(0x00, 4);
  apic.writeMmio(0x280, 4, 0);
  assert.equal(apic.readMmio(0x280, 4), 0x20 | 0x80);
});

test('switched off by software it takes no interrupts and masks its LVT, but takes NMI', () => {
  const { apic } = setUp();
  apic.writeMmio(0x350, 4, 0x700);
  assert.equal(apic.acceptsExtInt, true);
  apic.writeMmio(0xf0, 4, 0xff);
  assert.equal(apic.acceptsExtInt, false);
  assert.equal(apic.receive(DELIVERY.fixed, 0x80, false), false);
  apic.writeMmio(0x350, 4, 0x700);
  assert.equal(apic.readMmio(0x350, 4), 0x10700);
  apic.receive(DELIVERY.nmi, 0, false);
  assert.equal(apic.pendingNmi, true);
  assert.equal(apic.takeNmi(), true);
  assert.equal(apic.takeNmi(), false);
});

test('one-shot counts down once at the divided rate', () => {
  const { apic, time } = setUp();
  apic.writeMmio(0x3e0, 4, 0x3);
  apic.writeMmio(0x320, 4, 0x40);
  apic.writeMmio(0x380, 4, 100);
  assert.equal(apic.deadline(), 1600);
  time.now = 160;
  assert.equal(apic.readMmio(0x390, 4), 90);
  apic.expire(1599);
  assert.equal(apic.pendingVector(), -1);
  time.now = 1600;
  apic.expire(1600);
  assert.equal(apic.pendingVector(), 0x40);
  assert.equal(apic.readMmio(0x390, 4), 0);
  assert.equal(apic.deadline(), Number.POSITIVE_INFINITY);
});

test('every divide code divides as the manual lists', () => {
  for (const [code, divider] of [
    [0x0, 2],
    [0x1, 4],
    [0x2, 8],
    [0x3, 16],
    [0x8, 32],
    [0x9, 64],
    [0xa, 128],
    [0xb, 1],
  ] as const) {
    const { apic } = setUp();
    apic.writeMmio(0x3e0, 4, code);
    apic.writeMmio(0x380, 4, 10);
    assert.equal(apic.deadline(), 10 * divider);
  }
});

test('periodic keeps its phase and merges missed periods; a masked timer counts without interrupting', () => {
  const { apic, time } = setUp();
  apic.writeMmio(0x3e0, 4, 0xb);
  apic.writeMmio(0x320, 4, 0x20040);
  apic.writeMmio(0x380, 4, 1000);
  time.now = 3500;
  apic.expire(3500);
  assert.equal(take(apic), 0x40);
  assert.equal(apic.deadline(), 4000);
  assert.equal(apic.readMmio(0x390, 4), 500);
  eoi(apic);
  apic.writeMmio(0x320, 4, 0x30040);
  apic.expire(4000);
  assert.equal(apic.pendingVector(), -1);
  assert.equal(apic.deadline(), 5000);
  apic.writeMmio(0x380, 4, 0);
  assert.equal(apic.deadline(), Number.POSITIVE_INFINITY);
});

test('TSC-deadline fires at the counter’s value, at any frequency, and at once when it is past', () => {
  const { apic, time } = setUp(1, 2_500_000_000);
  apic.setTimeStampDeadline(1000n);
  assert.equal(apic.timer.timeStampDeadline, 0n, 'ignored in other modes');
  apic.writeMmio(0x320, 4, 0x40040);
  apic.setTimeStampDeadline(2501n);
  assert.equal(apic.deadline(), 1001);
  assert.equal(apic.timer.timeStampDeadline, 2501n);
  time.now = 1001;
  apic.expire(1001);
  assert.equal(take(apic), 0x40);
  assert.equal(apic.timer.timeStampDeadline, 0n);
  eoi(apic);
  apic.setTimeStampDeadline(1n);
  assert.equal(take(apic), 0x40);
  eoi(apic);
  apic.setTimeStampDeadline(5000n);
  apic.setTimeStampDeadline(0n);
  assert.equal(apic.deadline(), Number.POSITIVE_INFINITY);
  apic.setTimeStampDeadline(0xffff_ffff_ffff_ffffn);
  assert.equal(apic.deadline(), Number.POSITIVE_INFINITY);
  apic.setTimeStampDeadline(5000n);
  apic.writeMmio(0x320, 4, 0x40);
  assert.equal(apic.deadline(), Number.POSITIVE_INFINITY, 'leaving the mode disarms');
});

test('a written time-stamp counter goes on from its value, and deadlines follow it', () => {
  const { apic, time } = setUp();
  apic.writeMmio(0x320, 4, 0x40040);
  time.now = 1000;
  apic.setTimeStamp(5n);
  assert.equal(apic.timer.timeStamp(1000), 5n);
  assert.equal(apic.timer.timeStamp(1010), 15n);
  apic.setTimeStampDeadline(25n);
  assert.equal(apic.deadline(), 1020);
});

test('an expiry that is due is delivered before the timer is looked at or programmed', () => {
  const accesses: Readonly<Record<string, (apic: LocalApic) => void>> = {
    'another initial count': (apic) => apic.writeMmio(0x380, 4, 5000),
    'another divider': (apic) => apic.writeMmio(0x3e0, 4, 0x0),
    'the mask': (apic) => apic.writeMmio(0x320, 4, 0x10040),
    'another vector': (apic) => apic.writeMmio(0x320, 4, 0x50),
    'another mode': (apic) => apic.writeMmio(0x320, 4, 0x40040),
    'the current count': (apic) => apic.readMmio(0x390, 4),
    IRR: (apic) => apic.readMmio(0x220, 4),
    'x2APIC mode': (apic) => apic.setBase(X2APIC_BASE),
  };
  for (const [name, access] of Object.entries(accesses)) {
    for (const periodic of [0, 0x20000]) {
      const { apic, time } = setUp();
      apic.writeMmio(0x3e0, 4, 0xb);
      apic.writeMmio(0x320, 4, periodic | 0x40);
      apic.writeMmio(0x380, 4, 1000);
      time.now = 1200;
      access(apic);
      assert.equal(apic.pendingVector(), 0x40, name);
    }
  }
});

test('a current count between expiry and delivery belongs to the next period', () => {
  const { apic, time } = setUp();
  apic.writeMmio(0x3e0, 4, 0xb);
  apic.writeMmio(0x320, 4, 0x20040);
  apic.writeMmio(0x380, 4, 1000);
  time.now = 1200;
  assert.equal(apic.readMmio(0x390, 4), 800);
});

test('a TSC deadline that has passed reads 0, and a new one or a new counter does not lose it', () => {
  const accesses: Readonly<Record<string, (apic: LocalApic) => void>> = {
    read: (apic) => assert.equal(apic.timeStampDeadline, 0n),
    'a new deadline': (apic) => apic.setTimeStampDeadline(1_000_000n),
    disarming: (apic) => apic.setTimeStampDeadline(0n),
    'a new counter': (apic) => apic.setTimeStamp(0n),
  };
  for (const [name, access] of Object.entries(accesses)) {
    const { apic, time } = setUp();
    apic.writeMmio(0x320, 4, 0x40040);
    apic.setTimeStampDeadline(1000n);
    time.now = 1200;
    access(apic);
    assert.equal(apic.pendingVector(), 0x40, name);
  }
});

test('IA32_APIC_BASE allows only the manual’s transitions', () => {
  const { apic } = setUp();
  assert.equal(apic.setBase(0xfee00500n), false, 'EXTD without EN');
  assert.equal(apic.setBase(X2APIC_BASE), true);
  assert.equal(apic.mmioBase, -1);
  assert.equal(apic.setBase(0xfee00900n), false, 'x2APIC to xAPIC');
  assert.equal(apic.setBase(0xfee00100n), true);
  assert.equal(apic.setBase(X2APIC_BASE), false, 'disabled to x2APIC');
  assert.equal(apic.setBase(0xfee00900n), true);
  assert.equal(apic.setBase(0xfee00901n), false, 'reserved bit');
  assert.equal(apic.setBase(0x100_fee0_0900n), false, 'beyond the physical address width');
  assert.equal(apic.setBase(0xfd000900n), true);
  assert.equal(apic.mmioBase, 0xfd000000);
});

test('x2APIC: registers are MSRs, reserved bits and missing registers fault', () => {
  const { apics } = setUp(20);
  const apic = apics[19]!;
  assert.equal(apic.readMsr(0x802), undefined, 'not in xAPIC mode');
  apic.setBase(X2APIC_BASE);
  assert.equal(apic.readMsr(0x802), 19n);
  assert.equal(apic.readMsr(0x80d), 0x10008n);
  for (const msr of [0x80e, 0x831, 0x800, 0x80b, 0x83f, 0x82f, 0x840]) {
    assert.equal(apic.readMsr(msr), undefined, msr.toString(16));
  }
  assert.equal(apic.writeMsr(0x80b, 1n), false);
  assert.equal(apic.writeMsr(0x80b, 0n), true);
  assert.equal(apic.writeMsr(0x808, 0x100n), false);
  assert.equal(apic.writeMsr(0x808, 1n << 32n), false);
  assert.equal(apic.writeMsr(0x802, 0n), false, 'the id is read-only');
  assert.equal(apic.writeMsr(0x832, 0x80000n), false);
  assert.equal(apic.writeMsr(0x83f, 0x77n), true);
  assert.equal(take(apic), 0x77);
});

test('IPIs find their targets by id, shorthand, flat and cluster logical ids', () => {
  const { apics } = setUp(4);
  const [a, b, c, d] = apics as [LocalApic, LocalApic, LocalApic, LocalApic];
  const send = (low: number, destination = 0): number[] => {
    a.writeMmio(0x310, 4, destination << 24);
    a.writeMmio(0x300, 4, low);
    return apics
      .filter((apic) => {
        const vector = take(apic);
        if (vector >= 0) eoi(apic);
        return vector >= 0;
      })
      .map((apic) => apic.id);
  };
  assert.deepEqual(send(0x50, 2), [2]);
  assert.deepEqual(send(0x50, 0xff), [0, 1, 2, 3]);
  assert.deepEqual(send(0x40050), [0]);
  assert.deepEqual(send(0x80050), [0, 1, 2, 3]);
  assert.deepEqual(send(0xc0050), [1, 2, 3]);
  apics.forEach((apic, i) => {
    apic.writeMmio(0xd0, 4, 1 << (24 + i));
  });
  assert.deepEqual(send(0x850, 0b1010), [1, 3]);
  b.taskPriority = 0x20;
  assert.deepEqual(send(0x950, 0b1010), [3], 'lowest priority takes it');
  for (const apic of apics) apic.writeMmio(0xe0, 4, 0x0fffffff);
  c.writeMmio(0xd0, 4, 0x21 << 24);
  d.writeMmio(0xd0, 4, 0x22 << 24);
  assert.deepEqual(send(0x850, 0x23), [2, 3]);
  assert.deepEqual(send(0x850, 0x21), [2]);
});

test('x2APIC IPIs carry a 32-bit destination, physical or by cluster', () => {
  const { apics } = setUp(18);
  for (const apic of apics) apic.setBase(X2APIC_BASE);
  const targets = (value: bigint): number[] => {
    assert.equal(apics[0]!.writeMsr(0x830, value), true);
    const reached = apics.filter((apic) => take(apic) >= 0);
    for (const apic of reached) apic.writeMsr(0x80b, 0n);
    return reached.map((apic) => apic.id);
  };
  assert.deepEqual(targets((17n << 32n) | 0x60n), [17]);
  assert.deepEqual(targets((0x10003n << 32n) | 0x860n), [16, 17]);
  assert.equal(targets((0xffffffffn << 32n) | 0x60n).length, 18);
  assert.equal(apics[0]!.writeMsr(0x830, 0x1060n), false, 'delivery status is reserved');
  assert.equal(apics[0]!.readMsr(0x830), (0xffffffffn << 32n) | 0x60n);
});

test('a processor wakes by INIT and SIPI, and ignores a second SIPI', () => {
  const { apics } = setUp(2);
  const [bsp, ap] = apics as [LocalApic, LocalApic];
  assert.equal(ap.waitsForSipi, true);
  bsp.writeMmio(0x310, 4, 1 << 24);
  bsp.writeMmio(0x300, 4, 0xc500);
  assert.equal(ap.takeInit(), true);
  bsp.writeMmio(0x300, 4, 0x8500);
  assert.equal(ap.takeInit(), false, 'level de-assert does nothing');
  bsp.writeMmio(0x300, 4, 0x4699);
  assert.equal(ap.waitsForSipi, false);
  assert.equal(ap.takeSipi(), 0x99);
  bsp.writeMmio(0x300, 4, 0x469a);
  assert.equal(ap.takeSipi(), -1);
});

test('LINT0 as fixed level interrupt keeps remote IRR until EOI', () => {
  const { apic } = setUp();
  apic.writeMmio(0x350, 4, 0x8060);
  apic.setLint(0, true);
  assert.equal(take(apic), 0x60);
  assert.equal(apic.readMmio(0x350, 4), 0xc060);
  eoi(apic);
  assert.equal(take(apic), 0x60, 'still asserted');
  apic.setLint(0, false);
  eoi(apic);
  assert.equal(apic.readMmio(0x350, 4), 0x8060);
  assert.equal(take(apic), -1);
});

test('the I/O APIC shows its version, and reset masks every input', () => {
  const { ioapic, entry } = setUp();
  ioapic.writeMmio(0, 4, 1);
  assert.equal(ioapic.readMmio(0x10, 4), 0x00170011);
  assert.equal(ioapic.readMmio(0x00, 4), 1);
  ioapic.writeMmio(0, 4, 0);
  ioapic.writeMmio(0x10, 4, 0xffffffff);
  assert.equal(ioapic.readMmio(0x10, 4), 0x0f000000);
  ioapic.writeMmio(0, 4, 2);
  assert.equal(ioapic.readMmio(0x10, 4), 0x0f000000, 'arbitration id follows the id');
  for (let pin = 0; pin < 24; pin += 1) assert.equal(entry(pin), 0x10000);
});

test('an edge interrupts once, and is lost on a masked input', () => {
  const { apic, ioapic, redirect } = setUp();
  redirect(4, 0x34, 0);
  ioapic.setLine(4, true);
  ioapic.setLine(4, true);
  assert.equal(take(apic), 0x34);
  eoi(apic);
  assert.equal(take(apic), -1);
  ioapic.setLine(4, false);
  redirect(4, 0x10034, 0);
  ioapic.setLine(4, true);
  redirect(4, 0x34, 0);
  assert.equal(take(apic), -1);
});

test('a level interrupt sets remote IRR, and EOI repeats it while asserted', () => {
  const { apic, ioapic, redirect, entry } = setUp();
  redirect(9, 0x8059, 0);
  ioapic.setLine(9, true);
  assert.equal(entry(9), 0xc059);
  assert.equal(take(apic), 0x59);
  assert.equal(apic.readMmio(0x1a0, 4), 1 << (0x59 - 0x40), 'TMR marks it as level');
  ioapic.setLine(9, true);
  assert.equal(take(apic), -1);
  eoi(apic);
  assert.equal(take(apic), 0x59);
  ioapic.setLine(9, false);
  eoi(apic);
  assert.equal(entry(9), 0x8059);
  assert.equal(take(apic), -1);
});

test('unmasking an asserted level input delivers it; switching to edge clears remote IRR', () => {
  const { apic, ioapic, redirect, entry } = setUp();
  redirect(9, 0x18059, 0);
  ioapic.setLine(9, true);
  assert.equal(take(apic), -1);
  redirect(9, 0x8059, 0);
  assert.equal(take(apic), 0x59);
  redirect(9, 0x10059, 0);
  assert.equal(entry(9), 0x10059);
});

test('a level interrupt that nobody takes leaves remote IRR clear', () => {
  const { ioapic, redirect, entry } = setUp();
  redirect(9, 0x8059, 7);
  ioapic.setLine(9, true);
  assert.equal(entry(9), 0x8059);
});
