/** Delivery of exceptions and interrupts (Intel SDM vol. 3, chapter 6). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as L from './layout.js';
import {
  CODE,
  code,
  FREE_SELECTOR,
  Guest,
  HANDLERS,
  IDT,
  INTERRUPT_GATE,
  IST1,
  KERNEL_CS,
  KERNEL_CS32,
  KERNEL_DS,
  le,
  PT,
  RSP0,
  STACK,
  segment,
  TRAP_GATE,
  TSS,
  USER_CS32,
  USER_CS64,
  USER_DS,
  USER_GATE,
  USER_STACK,
} from './testing/guest.js';

const IF = 0x200;
const TF = 0x100;
const NT = 0x4000;
const RF = 0x10000;

/** Words of the frame on the stack from its lowest address. */
function frame(guest: Guest, words: number, bytes: 4 | 8 = 8): bigint[] {
  return Array.from({ length: words }, (_, index) => guest.stack(index, bytes));
}

describe('long mode', () => {
  test('a fault without error code saves SS, RSP, RFLAGS with RF, CS and the RIP of the instruction', () => {
    const guest = new Guest('long');
    guest.set32(L.FLAGS, IF | NT);
    assert.equal(guest.vector(code('90 0f 0b')), 6);
    assert.deepEqual(frame(guest, 5), [
      BigInt(CODE + 1),
      BigInt(KERNEL_CS),
      BigInt(IF | NT | RF | 2),
      BigInt(STACK),
      BigInt(KERNEL_DS),
    ]);
    assert.equal(guest.get64(L.RSP), BigInt(STACK - 40));
    assert.equal(guest.flags() & (IF | NT | RF), 0);
  });

  test('a trap gate leaves IF alone, an interrupt gate clears it', () => {
    for (const [access, expected] of [
      [TRAP_GATE, IF],
      [INTERRUPT_GATE, 0],
    ] as const) {
      const guest = new Guest('long');
      guest.setGate(6, access);
      guest.set32(L.FLAGS, IF);
      assert.equal(guest.vector(code('0f 0b')), 6);
      assert.equal(guest.flags() & IF, expected);
    }
  });

  test('an error code lies below RIP, and RSP is aligned to 16 before the frame', () => {
    const guest = new Guest('long');
    guest.set64(L.RSP, BigInt(STACK - 3));
    // mov ds, ax with a selector beyond the GDT
    assert.equal(guest.vector(code('66 b8 f8 0f 8e d8')), 13);
    assert.deepEqual(frame(guest, 6), [
      0xff8n,
      BigInt(CODE + 4),
      BigInt(KERNEL_CS),
      BigInt(RF | 2),
      BigInt(STACK - 3),
      BigInt(KERNEL_DS),
    ]);
    assert.equal(guest.get64(L.RSP), BigInt(STACK - 16 - 48));
  });

  test('from user code the stack is RSP0 of the TSS and SS becomes null', () => {
    const guest = new Guest('long').user();
    assert.equal(guest.vector(code('f4')), 13);
    assert.deepEqual(frame(guest, 6), [
      0n,
      BigInt(CODE),
      BigInt(USER_CS64 | 3),
      BigInt(RF | 2),
      BigInt(USER_STACK),
      BigInt(USER_DS | 3),
    ]);
    assert.equal(guest.get64(L.RSP), BigInt(RSP0 - 48));
    assert.equal(guest.selector(L.SEG_SS), 0);
    assert.equal(guest.selector(L.SEG_CS), KERNEL_CS);
    assert.equal(guest.get32(L.CPL), 0);
    assert.equal(guest.get32(L.TLB_SET), L.TLB_SUPERVISOR);
  });

  test('from 32-bit user code the handler runs in 64-bit mode', () => {
    const guest = new Guest('long').user(true);
    assert.equal(guest.get32(L.MODE) & L.MODE_CODE_MASK, L.MODE_CODE32);
    assert.equal(guest.vector(code('0f 0b')), 6);
    assert.equal(guest.stack(1), BigInt(USER_CS32 | 3));
    assert.equal(guest.get32(L.MODE) & L.MODE_CODE_MASK, L.MODE_CODE64);
  });

  test('a gate with an IST entry switches the stack at the same privilege', () => {
    const guest = new Guest('long');
    guest.setGate(6, INTERRUPT_GATE, 1);
    assert.equal(guest.vector(code('0f 0b')), 6);
    assert.equal(guest.get64(L.RSP), BigInt(IST1 - 40));
    assert.equal(guest.stack(3), BigInt(STACK));
    assert.equal(guest.selector(L.SEG_SS), KERNEL_DS);
  });

  test('INT n saves the RIP after it without RF; from user code the gate needs DPL 3', () => {
    const guest = new Guest('long').user();
    guest.setGate(0x80, USER_GATE);
    assert.equal(guest.vector(code('cd 80')), 0x80);
    assert.equal(guest.stack(0), BigInt(CODE + 2));
    assert.equal(guest.stack(2), 2n);

    const denied = new Guest('long').user();
    assert.equal(denied.vector(code('cd 80')), 13);
    assert.deepEqual(frame(denied, 2), [0x80n * 8n + 2n, BigInt(CODE)]);
  });

  test('INT3 is a trap: RIP is behind it', () => {
    const guest = new Guest('long').user();
    guest.setGate(3, USER_GATE);
    assert.equal(guest.vector(code('cc')), 3);
    assert.equal(guest.stack(0), BigInt(CODE + 1));
  });

  test('INT1 asks no privilege of the gate', () => {
    const guest = new Guest('long').user();
    assert.equal(guest.vector(code('f1')), 1);
    assert.equal(guest.stack(0), BigInt(CODE + 1));
  });

  test('gates that are absent, of another type, or with 32-bit code are refused with EXT', () => {
    // #UD itself: the second exception is not contributory to it, so it is delivered in its place.
    const absent = new Guest('long');
    absent.setGate(6, 0x0e);
    assert.equal(absent.vector(code('0f 0b')), 11);
    assert.equal(absent.stack(0), BigInt(6 * 8 + 3));

    const type = new Guest('long');
    type.setGate(6, 0x8c);
    assert.equal(type.vector(code('0f 0b')), 13);
    assert.equal(type.stack(0), BigInt(6 * 8 + 3));

    const compat = new Guest('long');
    compat.setGate(6, INTERRUPT_GATE, 0, KERNEL_CS32);
    assert.equal(compat.vector(code('0f 0b')), 13);
    assert.equal(compat.stack(0), BigInt(KERNEL_CS32 | 1));
  });

  test('a vector beyond the IDT limit is #GP with the IDT bit', () => {
    const guest = new Guest('long');
    guest.set32(L.IDT_LIMIT, 32 * 16 - 1);
    assert.equal(guest.vector(code('cd 40')), 13);
    assert.equal(guest.stack(0), 0x40n * 8n + 2n);
  });

  test('contributory after contributory is a double fault with error code 0', () => {
    const guest = new Guest('long');
    guest.setGate(13, 0x0e);
    assert.equal(guest.vector(code('66 b8 f8 0f 8e d8')), 8);
    assert.deepEqual(frame(guest, 2), [0n, BigInt(CODE + 4)]);
    // A double fault is an abort: RF is not set in its frame.
    assert.equal(guest.stack(3), 2n);
  });

  test('a page fault whose delivery meets a page fault is a double fault', () => {
    const guest = new Guest('long');
    guest.put(PT + (STACK / 0x1000 - 1) * 8, le(0, 8));
    guest.setGate(8, INTERRUPT_GATE, 1);
    // mov al, [0x9ff8], on the stack's own absent page
    assert.equal(guest.vector(code('8a 04 25 f8 9f 00 00')), 8);
    assert.equal(guest.get64(L.RSP), BigInt(IST1 - 48));
    assert.equal(guest.get64(L.CR2), BigInt(STACK - 8));
  });

  test('a contributory exception whose delivery meets a page fault is that page fault', () => {
    const guest = new Guest('long');
    guest.put(PT + (STACK / 0x1000 - 1) * 8, le(0, 8));
    guest.setGate(14, INTERRUPT_GATE, 1);
    assert.equal(guest.vector(code('66 b8 f8 0f 8e d8')), 14);
    assert.deepEqual(frame(guest, 2), [2n, BigInt(CODE + 4)]);
  });

  test('a fault during the delivery of a double fault shuts the processor down', () => {
    const guest = new Guest('long');
    guest.setGate(13, 0x0e);
    guest.setGate(8, 0x0e);
    assert.equal(guest.run(code('66 b8 f8 0f 8e d8')), L.EXIT_SHUTDOWN);

    const empty = new Guest('long');
    empty.set32(L.IDT_LIMIT, 0);
    assert.equal(empty.run(code('0f 0b')), L.EXIT_SHUTDOWN);
  });

  test('every exception vector takes its own gate when an interrupt comes on it', () => {
    for (let vector = 32; vector < 256; vector += 37) {
      const guest = new Guest('long').user();
      guest.set32(L.FLAGS, IF);
      guest.set64(L.RIP, BigInt(CODE));
      assert.equal(guest.core.interrupt(guest.cpu, vector), 1);
      assert.equal(guest.get64(L.RIP), BigInt(HANDLERS + vector * 16));
      assert.deepEqual(frame(guest, 3), [BigInt(CODE), BigInt(USER_CS64 | 3), BigInt(IF | 2)]);
      assert.equal(guest.flags() & IF, 0);
    }
  });

  test('an NMI blocks further ones until IRET', () => {
    const guest = new Guest('long');
    guest.put(HANDLERS + 2 * 16, code('48 cf'));
    guest.put(CODE, code('f4'));
    guest.set64(L.RIP, BigInt(CODE));
    assert.equal(guest.core.nmi(guest.cpu), 1);
    assert.equal(guest.core.nmiBlocked(guest.cpu), 1);
    // One that waits is to come at once.
    assert.equal(guest.resume(), L.EXIT_POLL);
    assert.equal(guest.get64(L.RIP), BigInt(CODE));
    assert.equal(guest.core.nmiBlocked(guest.cpu), 0);
    guest.set32(L.POLL, 0);
    assert.equal(guest.resume(), L.EXIT_HALT);
    assert.equal(guest.get64(L.RIP), BigInt(CODE + 1));
  });

  test('an IRET that faults ends the blocking of NMIs, too', () => {
    const guest = new Guest('long');
    // push 0x1234 as SS … as RIP: the selectors are outside the table.
    guest.put(HANDLERS + 2 * 16, code('e9', le(0x5000 - 2 * 16 - 5, 4)));
    guest.put(HANDLERS + 0x5000, code('6a 10 54 6a 02 68 34 12 00 00 6a 00 48 cf'));
    guest.set64(L.RIP, BigInt(CODE));
    assert.equal(guest.core.nmi(guest.cpu), 1);
    assert.equal(guest.resume(), L.EXIT_POLL);
    assert.equal(guest.get64(L.RIP), BigInt(HANDLERS + 13 * 16));
    assert.equal(guest.core.nmiBlocked(guest.cpu), 0);
  });

  test('an IDT entry in an absent page faults as a supervisor read', () => {
    const guest = new Guest('long').user();
    guest.put(PT + (IDT / 0x1000) * 8, le(0, 8));
    assert.equal(guest.run(code('cd 80')), L.EXIT_SHUTDOWN);
    assert.ok(guest.get64(L.CR2) >= BigInt(IDT) && guest.get64(L.CR2) < BigInt(IDT + 0x1000));
  });

  test('a RSP0 that is not canonical is #SS, which on the same stack is a double fault', () => {
    const guest = new Guest('long').user();
    guest.put(TSS + 4, le(0x8000_0000_1000n, 8));
    guest.setGate(8, INTERRUPT_GATE, 1);
    assert.equal(guest.vector(code('f4')), 8);
    const benign = new Guest('long').user();
    benign.put(TSS + 4, le(0x8000_0000_1000n, 8));
    benign.setGate(12, INTERRUPT_GATE, 1);
    assert.equal(benign.vector(code('0f 0b')), 12);
    assert.equal(benign.stack(0), 1n);
  });
});

describe('interrupt windows', () => {
  test('STI holds interrupts off for exactly one instruction', () => {
    const guest = new Guest('long');
    guest.set32(L.INTERRUPT_WINDOW, 1);
    // sti; inc eax; cli; hlt
    assert.equal(guest.run(code('fb ff c0 fa f4')), L.EXIT_POLL);
    assert.equal(guest.get64(L.RIP), BigInt(CODE + 3));
    assert.equal(guest.get32(L.POLL) & L.POLL_WINDOW, L.POLL_WINDOW);
    assert.equal(guest.core.interruptible(guest.cpu), 1);
    guest.set32(L.POLL, guest.get32(L.POLL) & ~L.POLL_WINDOW);
    guest.set32(L.INTERRUPT_WINDOW, 0);
    assert.equal(guest.resume(), L.EXIT_HALT);
    assert.equal(guest.get64(L.RIP), BigInt(CODE + 5));
    assert.equal(guest.get32(L.MODE) & L.MODE_STEP, 0);
    assert.equal(guest.get32(L.POLL), 0);
  });

  test('POPF that sets IF raises the window', () => {
    const guest = new Guest('long');
    guest.set32(L.INTERRUPT_WINDOW, 1);
    assert.equal(guest.run(code('68', le(IF, 4), '9d f4')), L.EXIT_POLL);
    assert.equal(guest.get64(L.RIP), BigInt(CODE + 6));
  });

  test('CLI then STI in user code at IOPL 0 is #GP', () => {
    for (const opcode of ['fa', 'fb']) {
      assert.equal(new Guest('long').user().vector(code(opcode)), 13);
      const allowed = new Guest('long').user();
      allowed.set32(L.FLAGS, 0x3000);
      assert.equal(allowed.vector(code(opcode, '0f 0b')), 6);
      assert.equal(allowed.stack(2) & BigInt(IF), opcode === 'fb' ? BigInt(IF) : 0n);
    }
  });
});

describe('protected mode', () => {
  test('a fault from user code pushes SS, ESP, EFLAGS, CS, EIP and the error code on the stack of the TSS', () => {
    const guest = new Guest('protected').user();
    assert.equal(guest.vector(code('f4')), 13);
    assert.deepEqual(frame(guest, 6, 4), [
      0n,
      BigInt(CODE),
      BigInt(USER_CS32 | 3),
      BigInt(RF | 2),
      BigInt(USER_STACK),
      BigInt(USER_DS | 3),
    ]);
    assert.equal(guest.get64(L.RSP), BigInt(RSP0 - 24));
    assert.equal(guest.selector(L.SEG_SS), KERNEL_DS);
  });

  test('at the same privilege only EFLAGS, CS and EIP are pushed', () => {
    const guest = new Guest('protected');
    assert.equal(guest.vector(code('0f 0b')), 6);
    assert.deepEqual(frame(guest, 3, 4), [BigInt(CODE), BigInt(KERNEL_CS), BigInt(RF | 2)]);
    assert.equal(guest.get64(L.RSP), BigInt(STACK - 12));
  });

  test('a 16-bit interrupt gate pushes words', () => {
    const guest = new Guest('protected');
    guest.setDescriptor(FREE_SELECTOR, segment(HANDLERS, 0xffff, 0x9b, 0));
    guest.put(IDT + 6 * 8, [...le(6 * 16, 2), ...le(FREE_SELECTOR, 2), 0, 0x86, 0, 0]);
    // At CODE the offset does not fit in 16 bits: the pushed IP is its low half.
    assert.equal(guest.vector(code('0f 0b')), 6);
    assert.equal(guest.get64(L.RSP), BigInt(STACK - 6));
    assert.deepEqual(
      [guest.stack(0, 2), guest.stack(1, 2), guest.stack(2, 2)],
      [BigInt(CODE & 0xffff), BigInt(KERNEL_CS), 2n],
    );
  });

  test('a stack segment of the TSS with another DPL is #TS with its selector', () => {
    const guest = new Guest('protected').user();
    guest.put(TSS + 8, le(USER_DS | 3, 4));
    guest.setDescriptor(FREE_SELECTOR, segment(0, 0xfffff, 0xfe, 0xc));
    // #TS needs a stack too: its handler is in a conforming segment, so that it stays at privilege 3.
    guest.setGate(10, INTERRUPT_GATE, 0, FREE_SELECTOR);
    guest.put(HANDLERS + 10 * 16, code('eb fe'));
    assert.equal(guest.run(code('0f 0b')), L.EXIT_BUDGET);
    assert.equal(guest.get64(L.RIP), BigInt(HANDLERS + 10 * 16));
    assert.deepEqual(frame(guest, 3, 4), [
      BigInt(USER_DS | 1),
      BigInt(CODE),
      BigInt(USER_CS32 | 3),
    ]);
    assert.equal(guest.get32(L.CPL), 3);
  });
});

describe('real mode', () => {
  test('an exception goes through the vector table at 0 and pushes three words', () => {
    const guest = new Guest('real');
    guest.set32(L.FLAGS, IF);
    assert.equal(guest.vector(code('0f 0b'), 0x8000), 6);
    assert.deepEqual(
      [guest.stack(0, 2), guest.stack(1, 2), guest.stack(2, 2)],
      [0x8000n, 0n, BigInt(IF | 2)],
    );
    assert.equal(guest.flags() & (IF | TF), 0);
  });

  test('INT n and IRET come back', () => {
    const guest = new Guest('real');
    guest.put(HANDLERS - 0x1000 + 0x21 * 16, code('40 cf'));
    assert.equal(guest.run(code('cd 21 40 f4'), 0x8000), L.EXIT_HALT);
    assert.equal(guest.get64(L.RIP), 0x8004n);
    assert.equal(guest.get64(L.RAX), 2n);
    assert.equal(guest.get64(L.RSP), BigInt(STACK));
  });
});

describe('alignment check', () => {
  const AC = 0x40000;
  const AM = 0x40000n;
  const MISALIGNED = USER_STACK - 0x7f;

  /** The vector of an access at an odd address, after one that filled the TLB; -1 for none. */
  function attempt(opcode: string, { flags = AC, am = AM, user = true } = {}): number {
    const guest = new Guest('long');
    guest.set64(L.CR0, guest.get64(L.CR0) | am);
    if (user) guest.user();
    guest.set64(L.RBX, BigInt(MISALIGNED));
    guest.set64(L.RDX, BigInt(flags));
    // mov (%rbx), %al; mov %al, (%rbx); push %rdx; popf
    const vector = guest.vector(code('8a 03 88 03 52 9d', opcode, '0f 0b'));
    if (vector === 17) assert.equal(guest.stack(0), 0n);
    return vector;
  }

  test('is #AC(0) for reads, writes and read-modify-writes at privilege 3', () => {
    for (const opcode of ['8b 03', '89 03', '01 03', '66 8b 03', '48 8b 03', 'ff 33', 'dd 03']) {
      assert.equal(attempt(opcode), 17, opcode);
    }
  });

  test('needs CR0.AM, RFLAGS.AC and privilege 3', () => {
    assert.equal(attempt('8b 03', { am: 0n }), 6);
    assert.equal(attempt('8b 03', { flags: 0 }), 6);
    assert.equal(attempt('8b 03', { user: false }), 6);
  });

  test('leaves bytes, aligned accesses and MOVUPS alone', () => {
    for (const opcode of ['8a 03', '8b 43 03', '66 8b 43 01', '48 8b 43 07', '0f 10 03']) {
      assert.equal(attempt(opcode), 6, opcode);
    }
  });
});
