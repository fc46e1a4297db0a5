/** Ports, MSRs, CPUID, control registers and descriptor-table instructions (Intel SDM vol. 2 and 3). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { CoreImports } from './core-module.js';
import * as L from './layout.js';
import {
  CODE,
  code,
  DATA,
  FREE_SELECTOR,
  GDT,
  Guest,
  KERNEL_CS,
  KERNEL_CS32,
  le,
  PD,
  PML4,
  segment,
  TSS,
  TSS_SELECTOR,
  USER_DS,
} from './testing/guest.js';

const low = (guest: Guest, register: number): number => Number(guest.get64(register) & 0xffffffffn);
const rdmsr = (index: number): number[] => code('b9', le(index, 4), '0f 32');
const wrmsr = (index: number, value: bigint): number[] =>
  code('b9', le(index, 4), 'b8', le(value & 0xffffffffn, 4), 'ba', le(value >> 32n, 4), '0f 30');

describe('ports', () => {
  test('IN and OUT reach the host with port, size and value', () => {
    const calls: number[][] = [];
    const guest = new Guest('long', {
      portIn: (port, size) => {
        calls.push([port, size]);
        return 0xa1b2c3d4 | 0;
      },
      portOut: (port, size, value) => {
        calls.push([port, size, value >>> 0]);
      },
    });
    guest.set64(L.RAX, 0x1122334455667788n);
    guest.set64(L.RDX, 0xcfcn);
    guest.run(code('e6 80 66 ef ef ec 66 ed f4'));
    assert.deepEqual(calls, [
      [0x80, 1, 0x88],
      [0xcfc, 2, 0x7788],
      [0xcfc, 4, 0x55667788],
      [0xcfc, 1],
      [0xcfc, 2],
    ]);
    assert.equal(guest.get64(L.RAX), 0x112233445566c3d4n);
    guest.run(code('ed f4'), CODE + 0x1000);
    assert.equal(guest.get64(L.RAX), 0xa1b2c3d4n);
  });

  test('above IOPL the bitmap of the TSS decides, for each port of the access', () => {
    const seen: number[] = [];
    const attempt = (port: number, opcode: string, iopl = 0): number => {
      const guest = new Guest('long', { portIn: (at) => seen.push(at) }).user();
      guest.put(TSS + 0x66, le(0x68, 2));
      guest.setDescriptor(TSS_SELECTOR, segment(TSS, 0x68 + 0x10, 0x8b, 0));
      guest.set32(L.SEG_LIMIT + L.SEG_TR * 4, 0x68 + 0x10);
      // Ports 0x0f and 0x12 are denied, others up to 0x7f allowed.
      guest.put(TSS + 0x68 + 1, [0x80, 0x04]);
      guest.set32(L.FLAGS, iopl << 12);
      guest.set64(L.RDX, BigInt(port));
      return guest.vector(code(opcode, '0f 0b'));
    };
    assert.equal(attempt(0x0e, 'ec'), 6);
    assert.equal(attempt(0x0f, 'ec'), 13);
    assert.equal(attempt(0x0e, '66 ed'), 13);
    assert.equal(attempt(0x10, '66 ed'), 6);
    assert.equal(attempt(0x10, 'ed'), 13);
    assert.equal(attempt(0x7f, 'ec'), 6);
    assert.equal(attempt(0x80, 'ec'), 13);
    assert.equal(attempt(0x0f, 'ec', 3), 6);
    assert.deepEqual(seen, [0x0e, 0x10, 0x7f, 0x0f]);
  });

  test('a TSS without a bitmap denies every port', () => {
    assert.equal(new Guest('long').user().vector(code('e4 80')), 13);
    assert.equal(new Guest('protected').user().vector(code('e6 80')), 13);
  });
});

describe('model-specific registers', () => {
  test('need privilege 0, and unknown ones are #GP(0)', () => {
    assert.equal(new Guest('long').user().vector(rdmsr(0x10)), 13);
    const guest = new Guest('long');
    assert.equal(guest.vector(rdmsr(0x12345)), 13);
    assert.equal(guest.stack(0), 0n);
    assert.equal(new Guest('long').vector(wrmsr(0x12345, 0n)), 13);
  });

  const written: ReadonlyArray<readonly [string, number, bigint]> = [
    ['IA32_LSTAR', 0xc0000082, 0xffffffff81000000n],
    ['IA32_STAR', 0xc0000081, 0x0023001000000000n],
    ['IA32_FMASK', 0xc0000084, 0x47700n],
    ['IA32_GS_BASE', 0xc0000101, 0xffff888012345678n],
    ['IA32_KERNEL_GS_BASE', 0xc0000102, 0x7fffffffffffn],
    ['IA32_TSC_AUX', 0xc0000103, 0x1003n],
    ['IA32_PAT', 0x277, 0x0407050600070106n],
    ['IA32_MTRR_PHYSBASE7', 0x20e, 0xc0000006n],
    ['IA32_MTRR_PHYSMASK7', 0x20f, 0xffc0000800n],
    ['IA32_MTRR_FIX4K_F8000', 0x26f, 0x0606060606060606n],
    ['IA32_MTRR_DEF_TYPE', 0x2ff, 0xc06n],
    ['IA32_TSC_ADJUST', 0x3b, 0x123456789n],
  ];
  for (const [name, index, value] of written) {
    test(`${name} reads back what was written`, () => {
      const guest = new Guest('long');
      const clear = '31 c0 31 d2';
      assert.equal(guest.run(code(wrmsr(index, value), clear, rdmsr(index), 'f4')), L.EXIT_HALT);
      assert.equal((guest.get64(L.RDX) << 32n) | guest.get64(L.RAX), value);
    });
  }

  const refused: ReadonlyArray<readonly [string, number, bigint]> = [
    ['a base that is not canonical', 0xc0000100, 1n << 47n],
    ['IA32_LSTAR that is not canonical', 0xc0000082, 1n << 63n],
    ['a reserved bit of EFER', 0xc0000080, 0x8d01n],
    ['LME changed under paging', 0xc0000080, 0xc01n],
    ['a reserved type in the PAT', 0x277, 0x0007040600070402n],
    ['a reserved MTRR type', 0x2ff, 0x802n],
    ['a reserved bit of an MTRR mask', 0x201, 1n << 40n],
    ['IA32_MTRRCAP', 0xfe, 0n],
  ];
  for (const [name, index, value] of refused) {
    test(`${name} is refused`, () => {
      const guest = new Guest('long');
      assert.equal(guest.vector(wrmsr(index, value)), 13);
      assert.equal(guest.stack(1), BigInt(CODE + 15));
    });
  }

  test('what the core does not know is asked of the host', () => {
    let stored = 0n;
    const guest: Guest = new Guest('long', {
      readMsr: (index) => {
        guest.set64(L.HOST_VALUE, BigInt(index) * 0x100000000n + 5n);
        return 1;
      },
      writeMsr: () => {
        stored = guest.get64(L.HOST_VALUE);
        return 1;
      },
    });
    guest.run(code(wrmsr(0x6e0, 0x1122334455n), rdmsr(0x1b), 'f4'));
    assert.equal(stored, 0x1122334455n);
    assert.deepEqual([guest.get64(L.RAX), guest.get64(L.RDX)], [5n, 0x1bn]);
  });

  test('the time-stamp counter is guest time plus its adjustment', () => {
    const guest = new Guest('long', { clock: () => 5_000_000_000 });
    guest.run(
      code('0f 31 48 89 d6 48 89 c7', wrmsr(0x10, 0x700000000n), rdmsr(0x3b), '0f 01 f9 f4'),
    );
    assert.equal((guest.get64(L.RSI) << 32n) | guest.get64(L.RDI), 5_000_000_000n);
    assert.equal(guest.get64(L.TSC_OFFSET), 0x700000000n - 5_000_000_000n);
    assert.equal((guest.get64(L.RDX) << 32n) | guest.get64(L.RAX), 0x700000000n);
    assert.equal(guest.get64(L.RCX), 0n);
  });

  test('CR4.TSD keeps RDTSC and RDTSCP from user code', () => {
    for (const bytes of ['0f 31', '0f 01 f9']) {
      const guest = new Guest('long').user();
      guest.set64(L.CR4, 0x24n);
      assert.equal(guest.vector(code(bytes)), 13);
      assert.equal(new Guest('long').user().vector(code(bytes, '0f 0b')), 6);
    }
  });

  test('the KVM system time makes nanoseconds of ticks', () => {
    const guest = new Guest('long', { clock: () => 3_000_000_007 });
    const bytes = code(wrmsr(0x3b, 0x1000n), wrmsr(0x4b564d01, BigInt(DATA | 1)), 'f4');
    assert.equal(guest.run(bytes), L.EXIT_HALT);
    assert.equal(guest.peek(DATA, 4), 2n);
    const stamp = guest.peek(DATA + 8);
    assert.equal(stamp, 3_000_000_007n + 0x1000n);
    assert.equal(guest.peek(DATA + 16), 3_000_000_007n);
    const shift = BigInt.asIntN(8, guest.peek(DATA + 28, 1));
    const scaled = ((1_000_000n << shift) * guest.peek(DATA + 24, 4)) >> 32n;
    assert.equal(scaled, 1_000_000n);
    assert.equal(guest.peek(DATA + 29, 1), 1n);
  });

  test('no KVM clock is written outside guest RAM, wherever the guest wants it', () => {
    const addresses = [0xfffffffffffffff4n, 0xffffffffffffffe0n, 0xfffffffffffffffcn, 1n << 32n];
    for (const address of addresses) {
      for (const [index, value] of [
        [0x4b564d00, address],
        [0x4b564d01, address | 1n],
      ] as const) {
        const guest = new Guest('long');
        const before = new Uint8Array(guest.memory.buffer).slice(L.GUEST_BASE - 64, L.GUEST_BASE);
        assert.equal(guest.vector(code(wrmsr(index, value), 'f4')), 13, address.toString(16));
        const after = new Uint8Array(guest.memory.buffer).slice(L.GUEST_BASE - 64, L.GUEST_BASE);
        assert.deepEqual(after, before);
      }
    }
  });

  test('the KVM wall clock is the time of the boot', () => {
    const guest = new Guest('long', { bootTime: () => 1_700_000_000_123.5 });
    assert.equal(guest.run(code(wrmsr(0x4b564d00, BigInt(DATA)), 'f4')), L.EXIT_HALT);
    assert.deepEqual(
      [guest.peek(DATA, 4), guest.peek(DATA + 4, 4), guest.peek(DATA + 8, 4)],
      [2n, 1_700_000_000n, 123_500_000n],
    );
  });
});

describe('CPUID', () => {
  /** Leaf, subleaf, flags, EAX, EBX, ECX, EDX. */
  function withTable(imports: Partial<CoreImports> = {}): Guest {
    const guest = new Guest('long', imports);
    const rows = [
      [0, 0, 0, 0xb, 0x756e6547, 0x6c65746e, 0x49656e69],
      [1, 0, 0, 0x306a9, 0x800, 0x80000001, 0x178bfbff],
      [4, 0, 1, 0x121, 1, 2, 3],
      [4, 1, 1, 0x122, 4, 5, 6],
      [0xb, 0, 1, 1, 1, 0x100, 0],
      [0x40000000, 0, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d],
      [0x80000000, 0, 0, 0x80000008, 0, 0, 0],
    ];
    const view = new DataView(guest.memory.buffer);
    rows
      .flatMap((row) => [...row, 0])
      .forEach((word, index) => {
        view.setUint32(L.CPUID_TABLE + index * 4, word, true);
      });
    guest.set32(L.CPUID_ROWS, rows.length);
    guest.set32(L.VCPU_ID, 3);
    return guest;
  }

  const leaves: ReadonlyArray<readonly [string, number, number, readonly number[]]> = [
    ['a leaf without subleaves', 0, 7, [0xb, 0x756e6547, 0x6c65746e, 0x49656e69]],
    ['leaf 1 with the local APIC number', 1, 0, [0x306a9, 0x03000800, 0x80000001, 0x178bfbff]],
    ['a subleaf', 4, 1, [0x122, 4, 5, 6]],
    ['a subleaf that does not exist', 4, 2, [0, 0, 0, 0]],
    ['leaf 0xb with the x2APIC number', 0xb, 0, [1, 1, 0x100, 3]],
    ['a level beyond the last of leaf 0xb', 0xb, 5, [0, 0, 5, 3]],
    ['a leaf within range that does not exist', 7, 0, [0, 0, 0, 0]],
    ['a leaf beyond the basic range', 0x20, 0, [1, 1, 0x100, 3]],
    ['a leaf beyond the extended range', 0x80000009, 0, [1, 1, 0x100, 3]],
    ['the hypervisor range', 0x40000000, 0, [0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d]],
    ['beyond the hypervisor range', 0x40000100, 0, [0, 0, 0, 0]],
  ];
  for (const [name, leaf, subleaf, expected] of leaves) {
    test(name, () => {
      const guest = withTable();
      guest.set64(L.RBX, -1n);
      guest.run(code('b8', le(leaf, 4), 'b9', le(subleaf, 4), '0f a2 f4'));
      const registers = [L.RAX, L.RBX, L.RCX, L.RDX].map((register) => guest.get64(register));
      assert.deepEqual(registers, expected.map(BigInt));
    });
  }

  test('leaf 1 says whether the local APIC is enabled', () => {
    for (const [base, feature] of [
      [0xfee00900n, 0x200n],
      [0xfee00100n, 0n],
    ] as const) {
      const guest: Guest = withTable({
        readMsr: (index) => {
          if (index !== 0x1b) return 0;
          guest.set64(L.HOST_VALUE, base);
          return 1;
        },
      });
      guest.run(code('b8', le(1, 4), '0f a2 f4'));
      assert.equal(guest.get64(L.RDX) & 0x200n, feature);
    }
  });
});

describe('control registers', () => {
  const write = (register: number, value: bigint): number[] =>
    code('48 b8', le(value, 8), '0f 22', [0xc0 | (register << 3)], 'f4');

  const refused: ReadonlyArray<readonly [string, number, bigint]> = [
    ['the upper half of CR0', 0, (1n << 32n) | 0x80010011n],
    ['paging without protection', 0, 0x80000010n],
    ['NW without CD', 0, 0xa0010011n],
    ['paging off in 64-bit code', 0, 0x11n],
    ['a reserved bit of CR3', 3, 1n << 40n],
    ['a reserved bit of CR4', 4, 0x100020n],
    ['PAE off in long mode', 4, 0n],
  ];
  for (const [name, register, value] of refused) {
    test(`${name} is #GP(0)`, () => {
      const guest = new Guest('long');
      const before = [guest.get64(L.CR0), guest.get64(L.CR3), guest.get64(L.CR4)];
      assert.equal(guest.vector(write(register, value)), 13);
      assert.deepEqual([guest.get64(L.CR0), guest.get64(L.CR3), guest.get64(L.CR4)], before);
    });
  }

  test('CR1 and CR5 are #UD, and all need privilege 0', () => {
    assert.equal(new Guest('long').vector(code('0f 20 c8')), 6);
    assert.equal(new Guest('long').vector(code('0f 22 e8')), 6);
    assert.equal(new Guest('long').user().vector(code('0f 20 c0')), 13);
    assert.equal(new Guest('long').user().vector(code('0f 22 d8')), 13);
  });

  test('CR8 is the task priority of the host', () => {
    let priority = 5;
    const guest = new Guest('long', {
      readCr8: () => priority,
      writeCr8: (value) => {
        priority = value;
      },
    });
    guest.run(code('44 0f 20 c1 b8 09 00 00 00 44 0f 22 c0 f4'));
    assert.deepEqual([guest.get64(L.RCX), priority], [5n, 9]);
    assert.equal(new Guest('long').vector(code('b8 10 00 00 00 44 0f 22 c0')), 13);
  });

  test('CLTS, LMSW and SMSW', () => {
    const guest = new Guest('long');
    guest.run(code('b8 0e 00 00 00 0f 01 f0 0f 01 e1 0f 06 f4'));
    // LMSW sets MP, EM and TS, and cannot clear PE.
    assert.equal(low(guest, L.RCX), 0x8001001f);
    assert.equal(guest.get64(L.CR0), 0x80010017n);
    const user = new Guest('long').user();
    assert.equal(user.vector(code('0f 01 e0 0f 0b')), 6);
    assert.equal(new Guest('long').user().vector(code('0f 06')), 13);
    assert.equal(new Guest('long').user().vector(code('0f 01 f0')), 13);
  });

  test('from real mode through protected mode to long mode', () => {
    const guest = new Guest('real');
    const tables = new Guest('long');
    // Descriptors and page tables as in long mode.
    for (const at of [GDT, PML4, 0x2000, PD, 0x4000]) {
      for (let word = 0; word < 0x1000; word += 8)
        guest.put(at + word, le(tables.peek(at + word), 8));
    }
    guest.put(0x5000, code(le(0xff, 2), le(GDT, 4)));
    // lgdt [0x5000]; mov eax, 1; mov cr0, eax; jmp 0x40:0x8100
    const real = code(
      '66 0f 01 16 00 50 66 b8',
      le(0x11, 4),
      '0f 22 c0 66 ea',
      le(0x8100, 4),
      le(KERNEL_CS32, 2),
    );
    // ltr; CR4.PAE; CR3; EFER.LME; CR0.PG; jmp 8:0x8200
    guest.put(GDT + TSS_SELECTOR + 5, [0x89]);
    guest.put(
      0x8100,
      code(
        '66 b8',
        le(TSS_SELECTOR, 2),
        '0f 00 d8 b8 20 00 00 00 0f 22 e0 b8',
        le(PML4, 4),
        '0f 22 d8',
        wrmsr(0xc0000080, 0x100n),
        'b8',
        le(0x80000011, 4),
        '0f 22 c0 ea',
        le(0x8200, 4),
        le(KERNEL_CS, 2),
      ),
    );
    guest.put(0x8200, code('48 b8', le(0x123456789abcdef0n, 8), 'f4'));
    assert.equal(guest.run(real, 0x8000), L.EXIT_HALT);
    assert.equal(guest.get64(L.RAX), 0x123456789abcdef0n);
    assert.equal(guest.get64(L.EFER), 0x500n);
    assert.equal(guest.get32(L.MODE) & (L.MODE_CODE_MASK | L.MODE_REAL), L.MODE_CODE64);
    assert.equal(guest.peek(GDT + TSS_SELECTOR + 5, 1), 0x8bn);
  });
});

describe('reset', () => {
  test('leaves the processor at the reset vector in real mode', () => {
    const guest = new Guest('long');
    guest.core.resetVcpu(guest.cpu);
    assert.equal(guest.get64(L.RIP), 0xfff0n);
    assert.equal(guest.selector(L.SEG_CS), 0xf000);
    assert.equal(guest.get64(L.SEG_BASE + L.SEG_CS * 8), 0xffff0000n);
    assert.equal(guest.get64(L.CR0), 0x60000010n);
    assert.equal(guest.flags(), 2);
    assert.deepEqual([guest.get64(L.DR6), guest.get64(L.DR7)], [0xffff0ff0n, 0x400n]);
    assert.equal(guest.get64(L.MSR_PAT), 0x0007040600070406n);
    assert.equal(guest.get32(L.MODE), L.MODE_REAL | L.MODE_CODE16);
    assert.equal(guest.get32(L.MXCSR), 0x1f80);
  });
});

describe('descriptor tables', () => {
  test('SGDT and SIDT store what LGDT and LIDT loaded, ten bytes in 64-bit code', () => {
    const guest = new Guest('long');
    const base = 0xffffffff80001000n;
    guest.put(DATA, code(le(0x123, 2), le(base, 8)));
    guest.run(code('0f 01 1c 25', le(DATA, 4), '0f 01 0c 25', le(DATA + 16, 4), 'f4'));
    assert.deepEqual([guest.peek(DATA + 16, 2), guest.peek(DATA + 18)], [0x123n, base]);
    guest.put(DATA + 2, le(1n << 47n, 8));
    guest.set64(L.IDT_BASE, 0x7000n);
    guest.set32(L.IDT_LIMIT, 0xfff);
    assert.equal(guest.vector(code('0f 01 1c 25', le(DATA, 4)), CODE + 0x1000), 13);
    assert.equal(new Guest('long').user().vector(code('0f 01 14 25', le(DATA, 4))), 13);
  });

  test('LGDT with a 16-bit operand loads 24 bits of the base', () => {
    const guest = new Guest('protected');
    guest.put(DATA, code(le(0xff, 2), le(0xab006000, 4)));
    guest.run(code('66 0f 01 15', le(DATA, 4), 'f4'));
    assert.equal(guest.get64(L.GDT_BASE), 0x6000n);
  });

  test('LTR marks the TSS busy and refuses a busy one', () => {
    const guest = new Guest('long');
    guest.setDescriptor(FREE_SELECTOR, segment(0x9000, 0x67, 0x89, 0), 0x12n);
    const ltr = code('66 b8', le(FREE_SELECTOR, 2), '0f 00 d8');
    assert.equal(guest.run(code(ltr, 'f4')), L.EXIT_HALT);
    assert.equal(guest.peek(GDT + FREE_SELECTOR + 5, 1), 0x8bn);
    assert.equal(guest.get64(L.SEG_BASE + L.SEG_TR * 8), 0x1200009000n);
    guest.set64(L.SEG_BASE + L.SEG_TR * 8, BigInt(TSS));
    assert.equal(guest.vector(ltr, CODE + 0x1000), 13);
    assert.equal(guest.stack(0), BigInt(FREE_SELECTOR));
  });

  test('LAR and LSL give access rights and limit, or clear ZF', () => {
    const guest = new Guest('long');
    guest.setDescriptor(FREE_SELECTOR, segment(0x123456, 0x12345, 0xf2, 0xd));
    guest.set64(L.RBX, BigInt(FREE_SELECTOR));
    guest.run(code('0f 02 c3 0f 03 cb f4'));
    assert.equal(low(guest, L.RAX), 0xd1f200 & 0xf0ff00);
    assert.equal(low(guest, L.RCX), 0x12345fff);
    assert.equal(guest.flags() & 0x40, 0x40);
    guest.set64(L.RBX, 0xff8n);
    guest.run(code('0f 02 c3 f4'), CODE + 0x1000);
    assert.equal(guest.flags() & 0x40, 0);
  });

  test('VERR and VERW look at type and privilege', () => {
    const check = (digit: number, access: number): number => {
      const guest = new Guest('protected').user();
      guest.setDescriptor(FREE_SELECTOR, segment(0, 0xfffff, access, 0xc));
      guest.set64(L.RAX, BigInt(FREE_SELECTOR | 3));
      guest.vector(code('0f 00', [0xc0 | (digit << 3)], '0f 0b'));
      return Number(guest.stack(2, 4)) & 0x40;
    };
    assert.equal(check(4, 0xf0), 0x40);
    assert.equal(check(5, 0xf0), 0);
    assert.equal(check(5, 0xf2), 0x40);
    assert.equal(check(4, 0x92), 0);
    assert.equal(check(4, 0xf8), 0);
    assert.equal(check(4, 0x9e), 0x40);
  });

  test('ARPL raises the RPL and sets ZF', () => {
    const guest = new Guest('protected');
    guest.set64(L.RAX, BigInt(USER_DS));
    guest.set64(L.RCX, 2n);
    guest.run(code('63 c8 f4'));
    assert.equal(low(guest, L.RAX), USER_DS | 2);
    assert.equal(guest.flags() & 0x40, 0x40);
  });

  test('SALC fills AL with the carry flag outside 64-bit code', () => {
    const guest = new Guest('protected');
    // stc; salc; mov bl,al; clc; salc
    assert.equal(guest.vector(code('f9 d6 88 c3 f8 d6 f4')), -1);
    assert.deepEqual([guest.get64(L.RBX) & 0xffn, guest.get64(L.RAX) & 0xffn], [0xffn, 0n]);
    assert.equal(new Guest('long').vector(code('d6')), 6);
  });

  test('VMCALL and VMMCALL are hypercalls of KVM', () => {
    for (const [bytes, number, result] of [
      ['0f 01 c1', 9999n, -1000n],
      ['0f 01 d9', 9999n, -1000n],
      ['0f 01 c1', 9n, -95n],
      ['0f 01 d9', 1n, 0n],
      ['0f 01 c1', (1n << 32n) | 9n, -1000n],
    ] as const) {
      const guest = new Guest('long');
      guest.set64(L.RAX, number);
      assert.equal(guest.vector(code(bytes, 'f4')), -1);
      assert.equal(guest.get64(L.RAX), BigInt.asUintN(64, result));
    }
    const narrow = new Guest('protected');
    narrow.set64(L.RAX, 9n);
    assert.equal(narrow.vector(code('0f 01 c1 f4')), -1);
    assert.equal(narrow.get64(L.RAX), BigInt.asUintN(32, -95n));
    const user = new Guest('long').user();
    user.set64(L.RAX, 9n);
    assert.equal(user.vector(code('0f 01 d9 0f 0b')), 6);
    assert.equal(user.get64(L.RAX), BigInt.asUintN(64, -1n));
  });

  test('the other register forms of group 7 are no instructions of this processor', () => {
    for (let form = 0xc0; form <= 0xff; form++) {
      const group = (form >> 3) & 7;
      if ([0xc1, 0xd9, 0xf8, 0xf9].includes(form) || group === 4 || group === 6) continue;
      for (const prefix of ['', '40', '4f'] as const) {
        const guest = new Guest('long');
        assert.equal(guest.vector(code(prefix, '0f 01', [form], 'f4')), 6, form.toString(16));
      }
    }
  });

  test('STR and SLDT are #UD in real mode', () => {
    assert.equal(new Guest('real').vector(code('0f 00 c8'), 0x8000), 6);
  });

  test('HLT, INVLPG, WBINVD and LGDT need privilege 0', () => {
    for (const bytes of [
      'f4',
      '0f 01 38',
      '0f 09',
      '0f 08',
      '0f 01 10',
      '0f 00 d8',
      '0f 30',
      '0f 32',
    ]) {
      assert.equal(new Guest('long').user().vector(code(bytes)), 13, bytes);
    }
  });
});
