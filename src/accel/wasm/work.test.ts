/** What ends a call of `run` before its instructions are used up: core/work.ts. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as L from './layout.js';
import { CODE, code, DATA, Guest, HANDLERS, INTERRUPT_GATE, le, PT } from './testing/guest.js';

const COUNT = 1n << 40n;
const DEVICE = 0x1ff000;
const TARGET = 0x60000;
const DF = 0x400;
/** Of core/work.ts: an element done by itself, an access to a device, 32 bytes at once. */
const BY_ITSELF = 10;
const A_DEVICE = 500;
const AT_ONCE = 1 / 32;
const WORK = 20_000;

interface Repeated {
  readonly name: string;
  readonly bytes: string;
  /** Bytes of an element, and which pointers move. */
  readonly size: number;
  readonly pointers: 's' | 'd' | 'sd';
  /** What an element costs at least, in units of WORK. */
  readonly cost: number;
  readonly down?: boolean;
  readonly target?: number;
}

const REPEATED: readonly Repeated[] = [
  { name: 'lodsb', bytes: 'f3 ac', size: 1, pointers: 's', cost: BY_ITSELF },
  { name: 'lodsq', bytes: 'f3 48 ad', size: 8, pointers: 's', cost: BY_ITSELF },
  { name: 'repe scasb', bytes: 'f3 ae', size: 1, pointers: 'd', cost: AT_ONCE },
  {
    name: 'repe scasw down',
    bytes: 'f3 66 af',
    size: 2,
    pointers: 'd',
    cost: BY_ITSELF,
    down: true,
  },
  { name: 'repe cmpsb', bytes: 'f3 a6', size: 1, pointers: 'sd', cost: AT_ONCE },
  { name: 'repe cmpsd down', bytes: 'f3 a7', size: 4, pointers: 'sd', cost: BY_ITSELF, down: true },
  { name: 'movsb', bytes: 'f3 a4', size: 1, pointers: 'sd', cost: AT_ONCE },
  { name: 'movsw down', bytes: 'f3 66 a5', size: 2, pointers: 'sd', cost: BY_ITSELF, down: true },
  { name: 'stosq', bytes: 'f3 48 ab', size: 8, pointers: 'd', cost: 8 * AT_ONCE },
  { name: 'stosb down', bytes: 'f3 aa', size: 1, pointers: 'd', cost: BY_ITSELF, down: true },
  {
    name: 'stosb to a device',
    bytes: 'f3 aa',
    size: 1,
    pointers: 'd',
    cost: A_DEVICE,
    target: DEVICE,
  },
  {
    name: 'movsd to a device',
    bytes: 'f3 a5',
    size: 4,
    pointers: 'sd',
    cost: A_DEVICE,
    target: DEVICE,
  },
  {
    name: 'repe scasb of a device',
    bytes: 'f3 ae',
    size: 1,
    pointers: 'd',
    cost: A_DEVICE,
    target: DEVICE,
  },
  { name: 'insb', bytes: 'f3 6c', size: 1, pointers: 'd', cost: A_DEVICE },
  { name: 'outsd', bytes: 'f3 6f', size: 4, pointers: 's', cost: A_DEVICE },
];

describe('a repeated string operation', () => {
  for (const { name, bytes, size, pointers, cost, down = false, target = TARGET } of REPEATED) {
    test(`comes out between two iterations of ${name}, and goes on from there`, () => {
      const guest = new Guest('long', { mmioRead: () => 0 });
      guest.put(PT + (DEVICE >> 12) * 8, le(0xfee00007, 8));
      guest.set64(L.RCX, COUNT);
      guest.set64(L.RSI, BigInt(DATA));
      guest.set64(L.RDI, BigInt(target));
      guest.set32(L.FLAGS, down ? DF | 2 : 2);
      let before = COUNT;
      for (let call = 0; call < 3; call++) {
        guest.set32(L.WORK, WORK);
        guest.set32(L.POLL, 0);
        const reason = call === 0 ? guest.run(code(bytes)) : guest.resume();
        assert.equal(reason, L.EXIT_POLL);
        assert.equal(guest.get64(L.RIP), BigInt(CODE));
        const left = guest.get64(L.RCX);
        const done = Number(before - left);
        assert.ok(done > 0 && done * cost <= WORK + 4096, `${done} iterations`);
        const moved = (down ? -1n : 1n) * (COUNT - left) * BigInt(size);
        if (pointers.includes('s')) assert.equal(guest.get64(L.RSI), BigInt(DATA) + moved);
        if (pointers.includes('d')) assert.equal(guest.get64(L.RDI), BigInt(target) + moved);
        before = left;
      }
    });
  }

  test('comes out after the iteration in which a device asks for it', () => {
    const guest: Guest = new Guest('long', {
      portOut: () => {
        if (guest.get64(L.RCX) === COUNT - 2n) guest.set32(L.POLL, L.POLL_HOST);
      },
    });
    guest.set64(L.RCX, COUNT);
    guest.set64(L.RSI, BigInt(DATA));
    assert.equal(guest.run(code('f3 6e')), L.EXIT_POLL);
    assert.equal(guest.get64(L.RCX), COUNT - 3n);
  });
});

describe('a guest that retires no instruction', () => {
  const endless = (prepare: (guest: Guest) => void, bytes: string): void => {
    const guest = new Guest('long');
    prepare(guest);
    guest.set32(L.WORK, WORK);
    assert.equal(guest.run(code(bytes)), L.EXIT_POLL);
    assert.ok(guest.get64(L.ICOUNT) < 8n);
  };

  test('comes out when the handler of its page fault is not there', () => {
    endless((guest) => {
      guest.setGate(14, INTERRUPT_GATE, 1);
      guest.put(PT + (HANDLERS >> 12) * 8, le(0, 8));
    }, '0f 0b');
  });

  test('comes out when a handler begins with what it handles', () => {
    endless((guest) => {
      guest.setGate(6, INTERRUPT_GATE, 1);
      guest.put(HANDLERS + 6 * 16, [0x0f, 0x0b]);
    }, '0f 0b');
  });
});
