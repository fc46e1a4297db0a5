/** The page walk and the software TLBs (Intel SDM vol. 3, chapter 4). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as L from './layout.js';
import {
  CODE,
  code,
  DATA,
  Guest,
  le,
  PD,
  PDPT,
  PML4,
  PT,
  STACK,
  TSS,
  USER_STACK,
} from './testing/guest.js';

const P = 1;
const RW = 2;
const US = 4;
const A = 0x20;
const D = 0x40;
const PS = 0x80;
const G = 0x100;
const NX = 1n << 63n;

/** Error code bits. */
const E_P = 1;
const E_W = 2;
const E_U = 4;
const E_RSVD = 8;
const E_I = 16;

const pte = (guest: Guest, page: number, entry: bigint | number): void =>
  guest.put(PT + page * 8, le(entry, 8));
const DATA_PAGE = DATA >> 12;

/** mov al, [address] and mov [address], al */
const read = (address: number): number[] => code('8a 04 25', le(address, 4));
const write = (address: number): number[] => code('88 04 25', le(address, 4));
const HLT = code('f4');

/** The error code and CR2 of the #PF that `bytes` meets, or undefined. */
function pageFault(
  guest: Guest,
  bytes: readonly number[],
): [error: number, address: bigint] | undefined {
  const vector = guest.vector([...bytes, 0x0f, 0x0b]);
  if (vector === 6) return undefined;
  assert.equal(vector, 14);
  assert.equal(guest.stack(1), BigInt(CODE));
  return [Number(guest.stack(0)), guest.get64(L.CR2)];
}

describe('four-level paging', () => {
  type Case = readonly [
    what: string,
    entry: bigint | number,
    user: boolean,
    bytes: number[],
    error: number | undefined,
  ];
  const frame = DATA_PAGE << 12;
  const cases: readonly Case[] = [
    ['a supervisor read of an absent page', 0, false, read(DATA), 0],
    ['a supervisor write to an absent page', 0, false, write(DATA), E_W],
    ['a user read of an absent page', 0, true, read(DATA), E_U],
    ['a user write to an absent page', 0, true, write(DATA), E_U | E_W],
    ['a user read of a supervisor page', frame | P | RW, true, read(DATA), E_P | E_U],
    ['a user write to a read-only page', frame | P | US, true, write(DATA), E_P | E_U | E_W],
    ['a user read of a read-only page', frame | P | US, true, read(DATA), undefined],
    [
      'a supervisor write to a read-only page with WP',
      frame | P | US,
      false,
      write(DATA),
      E_P | E_W,
    ],
    ['a supervisor read of a user page', frame | P | US, false, read(DATA), undefined],
    [
      'an address bit above MAXPHYADDR',
      BigInt(frame | P | RW) | (1n << 40n),
      false,
      read(DATA),
      E_P | E_RSVD,
    ],
    ['a data read of a page with NX', NX | BigInt(frame | P | RW), false, read(DATA), undefined],
  ];
  for (const [what, entry, user, bytes, error] of cases) {
    test(`${what}: ${error === undefined ? 'allowed' : `error code ${error}`}`, () => {
      const guest = new Guest('long');
      if (user) guest.user();
      pte(guest, DATA_PAGE, entry);
      assert.deepEqual(
        pageFault(guest, bytes),
        error === undefined ? undefined : [error, BigInt(DATA)],
      );
    });
  }

  test('without CR0.WP the supervisor writes to read-only pages', () => {
    const guest = new Guest('long');
    guest.set64(L.CR0, 0x80000011n);
    pte(guest, DATA_PAGE, frame | P | US);
    assert.equal(pageFault(guest, write(DATA)), undefined);
  });

  test('a fetch from a page with NX reports I/D; without EFER.NXE the bit is reserved', () => {
    for (const [efer, error] of [
      [0xd01n, E_P | E_I],
      [0x501n, E_P | E_RSVD],
    ] as const) {
      const guest = new Guest('long');
      guest.set64(L.EFER, efer);
      pte(guest, DATA_PAGE, NX | BigInt(frame | P | RW));
      guest.put(DATA, HLT);
      assert.equal(guest.vector(code('e9', le(DATA - CODE - 5, 4))), 14);
      assert.deepEqual(
        [Number(guest.stack(0)), guest.stack(1), guest.get64(L.CR2)],
        [error, BigInt(DATA), BigInt(DATA)],
      );
    }
  });

  test('rights are those of every level together', () => {
    for (const [table, entry, error] of [
      [PML4, PDPT | P | US, E_P | E_W | E_U],
      [PDPT, PD | P | RW, E_P | E_U],
      [PD, PT | P | US, E_P | E_W | E_U],
    ] as const) {
      const guest = new Guest('long');
      // Rights of the alias at 512 GiB, 1 GiB or 2 MiB are narrowed at one level.
      const far = table === PML4 ? 1n << 39n : table === PDPT ? 1n << 30n : 1n << 21n;
      guest.put(table + 8, le(entry, 8));
      guest.user();
      const vector = guest.vector(
        code('48 b8', le(far + BigInt(DATA), 8), error & E_W ? '88 08' : '8a 08', '0f 0b'),
      );
      assert.equal(vector, 14);
      assert.equal(Number(guest.stack(0)), error);
      assert.equal(guest.get64(L.CR2), far + BigInt(DATA));
    }
  });

  test('PS in a PML4 entry is reserved', () => {
    const guest = new Guest('long');
    guest.put(PML4 + 8, le(PDPT | P | RW | PS, 8));
    assert.equal(guest.vector(code('48 b8', le(1n << 39n, 8), '8a 08')), 14);
    assert.equal(Number(guest.stack(0)), E_P | E_RSVD);
  });

  test('an address that is not canonical is #GP(0)', () => {
    const guest = new Guest('long');
    assert.equal(guest.vector(code('48 b8', le(1n << 47n, 8), '8a 08')), 13);
    assert.equal(guest.stack(0), 0n);
  });

  test('accessed and dirty bits are set by what uses the page', () => {
    const guest = new Guest('long');
    const entry = (table: number, index: number): number =>
      Number(guest.peek(table + index * 8) & 0xfffn);
    guest.run(code(read(DATA), write(DATA + 0x1000), HLT));
    assert.equal(entry(PT, DATA_PAGE), P | RW | US | A);
    assert.equal(entry(PT, DATA_PAGE + 1), P | RW | US | A | D);
    assert.equal(entry(PT, DATA_PAGE + 2), P | RW | US);
    assert.equal(entry(PD, 0), P | RW | US | A);
    assert.equal(entry(PDPT, 0), P | RW | US | A);
    assert.equal(entry(PML4, 0), P | RW | US | A);
    assert.equal(entry(PT, CODE >> 12) & (A | D), A);
  });

  test('a page that was read gets its dirty bit with the first write', () => {
    const guest = new Guest('long');
    guest.run(code(read(DATA), write(DATA), HLT));
    assert.equal(Number(guest.peek(PT + DATA_PAGE * 8)) & D, D);
  });

  test('a refused access sets no dirty bit', () => {
    const guest = new Guest('long');
    pte(guest, DATA_PAGE, frame | P | US);
    assert.ok(pageFault(guest, write(DATA)));
    assert.equal(Number(guest.peek(PT + DATA_PAGE * 8)) & D, 0);
  });

  test('a large page maps 2 MiB and has reserved bits below its frame', () => {
    const guest = new Guest('long');
    guest.put(PD + 8, le(0x200000 | P | RW | PS, 8));
    guest.put(0x345678, [0x5a]);
    guest.run(code(read(0x345678), HLT));
    assert.equal(guest.get64(L.RAX), 0x5an);
    assert.equal(Number(guest.peek(PD + 8)), 0x200000 | P | RW | PS | A);
    const reserved = new Guest('long');
    reserved.put(PD + 8, le(0x202000 | P | RW | PS, 8));
    assert.deepEqual(pageFault(reserved, read(0x345678)), [E_P | E_RSVD, 0x345678n]);
  });

  test('a 1 GiB page maps its whole gibibyte', () => {
    const guest = new Guest('long');
    guest.put(PDPT + 8, le(P | RW | PS, 8));
    guest.put(DATA + 5, [0x77]);
    guest.run(code(read(0x40000000 + DATA + 5), HLT));
    assert.equal(guest.get64(L.RAX), 0x77n);
  });

  test('an access across pages reads both, and a fault names the page that is absent', () => {
    const guest = new Guest('long');
    pte(guest, DATA_PAGE + 1, ((DATA_PAGE + 4) << 12) | P | RW);
    guest.put(DATA + 0xffd, [1, 2, 3]);
    guest.put(DATA + 0x4000, [4, 5, 6, 7, 8]);
    guest.run(code('48 8b 04 25', le(DATA + 0xffd, 4), 'f4'));
    assert.equal(guest.get64(L.RAX), 0x0807060504030201n);

    const absent = new Guest('long');
    pte(absent, DATA_PAGE + 1, 0);
    assert.deepEqual(pageFault(absent, code('48 8b 04 25', le(DATA + 0xffd, 4))), [
      0,
      BigInt(DATA + 0x1000),
    ]);
    const first = new Guest('long');
    pte(first, DATA_PAGE, 0);
    assert.deepEqual(pageFault(first, code('48 8b 04 25', le(DATA + 0xffd, 4))), [
      0,
      BigInt(DATA + 0xffd),
    ]);
  });

  test('a write whose second page is refused changes neither', () => {
    const guest = new Guest('long');
    guest.put(DATA + 0xffc, [9, 9, 9, 9]);
    pte(guest, DATA_PAGE + 1, ((DATA_PAGE + 1) << 12) | P);
    guest.set64(L.RAX, -1n);
    assert.deepEqual(pageFault(guest, code('48 89 04 25', le(DATA + 0xffc, 4))), [
      E_P | E_W,
      BigInt(DATA + 0x1000),
    ]);
    assert.equal(guest.peek(DATA + 0xffc, 4), 0x09090909n);
  });

  test('an instruction across pages whose second page is absent faults there', () => {
    const guest = new Guest('long');
    pte(guest, (CODE >> 12) + 1, 0);
    const at = CODE + 0xffe;
    assert.equal(guest.vector(code('b8 11'), at), 14);
    assert.deepEqual([guest.get64(L.CR2), guest.stack(1)], [BigInt(CODE + 0x1000), BigInt(at)]);
  });

  test('delivery writes the frame with supervisor rights', () => {
    const guest = new Guest('long').user();
    pte(guest, STACK >> 12, ((STACK >> 12) << 12) | P | RW);
    pte(guest, TSS >> 12, ((TSS >> 12) << 12) | P | RW);
    guest.put(TSS + 4, le(STACK + 0x1000, 8));
    assert.equal(guest.vector(code('0f 0b')), 6);
    assert.equal(guest.stack(3), BigInt(USER_STACK));
  });
});

describe('translations in use', () => {
  /** Points DATA at the next frame, after a first read has filled the TLB; `between` decides whether that is seen. */
  function remap(between: string, flags = P | RW | US): bigint {
    const guest = new Guest('long');
    pte(guest, DATA_PAGE, DATA | flags);
    guest.put(DATA, [0x11]);
    guest.put(DATA + 0x1000, [0x22]);
    const bytes = code(
      read(DATA),
      'c7 04 25',
      le(PT + DATA_PAGE * 8, 4),
      le((DATA + 0x1000) | flags, 4),
      between,
      read(DATA),
      'f4',
    );
    assert.equal(guest.run(bytes), L.EXIT_HALT);
    return guest.get64(L.RAX) & 0xffn;
  }

  test('stay until INVLPG', () => {
    assert.equal(remap(`0f 01 3c 25 00 00 0${(DATA >> 16).toString(16)} 00`), 0x22n);
  });

  test('go with a write to CR3, unless they are global', () => {
    const reload = '0f 20 d9 0f 22 d9';
    assert.equal(remap(reload), 0x22n);
    const pge = '0f 20 e1 81 c9 80 00 00 00 0f 22 e1';
    assert.equal(remap(`${pge} ${reload}`, P | RW | US | G), 0x22n);
    // With PGE set first, so that the page is global when it is read.
    const guest = new Guest('long');
    guest.set64(L.CR4, 0xa0n);
    pte(guest, DATA_PAGE, DATA | P | RW | G);
    guest.put(DATA, [0x11]);
    guest.put(DATA + 0x1000, [0x22]);
    const change = code('c7 04 25', le(PT + DATA_PAGE * 8, 4), le((DATA + 0x1000) | P | RW | G, 4));
    const off = '0f 20 e1 81 e1 7f ff ff ff 0f 22 e1';
    guest.run(code(read(DATA), change, reload, read(DATA), '88 c3', off, read(DATA), 'f4'));
    assert.equal(guest.get64(L.RBX) & 0xffn, 0x11n);
    assert.equal(guest.get64(L.RAX) & 0xffn, 0x22n);
  });

  /** A page whose entry in the TLBs for data is that of DATA. */
  const OTHER = DATA + L.TLB_ENTRIES * 0x1000;
  /** A page whose entry in the TLB for fetching is that of DATA. */
  const OTHER_CODE = ((L.TLB_ENTRIES + DATA_PAGE) ^ 1) << 12;
  const FLAGS = P | RW | US;
  const moved = code('c7 04 25', le(PT + DATA_PAGE * 8, 4), le((DATA + 0x1000) | FLAGS, 4));
  const invalidate = code('0f 01 3c 25', le(DATA, 4));
  const reload = code('0f 20 d9 0f 22 d9');
  /** mov eax, address; call rax */
  const call = (address: number): number[] => code('b8', le(address, 4), 'ff d0');

  for (const [what, forget] of [
    ['INVLPG', invalidate],
    ['a write to CR3', reload],
  ] as const) {
    test(`are there again when another page had taken their place, until ${what}`, () => {
      const guest = new Guest('long');
      for (const page of [DATA, OTHER]) pte(guest, page >> 12, page | FLAGS);
      guest.put(DATA, [0x11]);
      guest.put(DATA + 0x1000, [0x22]);
      const away = [...read(DATA), ...read(OTHER)];
      // mov bl, al: what a page walk would not give.
      const kept = [...read(DATA), 0x88, 0xc3];
      guest.run(code(away, moved, kept, read(OTHER), forget, read(DATA), 'f4'));
      assert.equal(guest.get64(L.RBX) & 0xffn, 0x11n);
      assert.equal(guest.get64(L.RAX) & 0xffn, 0x22n);
    });

    test(`of code are there again when another page had taken their place, until ${what}`, () => {
      const guest = new Guest('long');
      for (const page of [DATA, OTHER_CODE]) pte(guest, page >> 12, page | FLAGS);
      // mov bl, 1 or 2; ret
      guest.put(DATA, [0xb3, 1, 0xc3]);
      guest.put(DATA + 0x1000, [0xb3, 2, 0xc3]);
      guest.put(OTHER_CODE, [0xc3]);
      const kept = [...call(DATA), 0x88, 0xda];
      const away = call(OTHER_CODE);
      guest.run(code(call(DATA), away, moved, kept, away, forget, call(DATA), 'f4'));
      assert.equal(guest.get64(L.RDX) & 0xffn, 1n);
      assert.equal(guest.get64(L.RBX) & 0xffn, 2n);
    });
  }

  test('to write give way to code, also where another page has taken their place', () => {
    const guest = new Guest('long');
    for (const page of [DATA, OTHER]) pte(guest, page >> 12, page | FLAGS);
    guest.put(DATA, [0xb3, 1, 0xc3]);
    // mov al, n; mov [DATA + 1], al
    const set = (value: number): number[] => [0xb0, value, ...write(DATA + 1)];
    // The write beside the code brings the page back, if anything does.
    const beside = write(DATA + 0x800);
    guest.run(code(set(5), write(OTHER), call(DATA), beside, set(7), call(DATA), 'f4'));
    assert.equal(guest.get64(L.RBX) & 0xffn, 7n);
  });

  test('of the supervisor are not the user’s', () => {
    const guest = new Guest('long');
    pte(guest, DATA_PAGE, DATA | P | RW);
    assert.equal(guest.run(code(read(DATA), HLT)), L.EXIT_HALT);
    guest.user();
    assert.equal(guest.vector(read(DATA), CODE + 0x1000), 14);
    assert.equal(Number(guest.stack(0)), E_P | E_U);
  });

  test('INVLPG of one page of a large page forgets the others too', () => {
    const guest = new Guest('long');
    guest.put(PD + 8, le(0x200000 | P | RW | PS, 8));
    guest.put(0x200000, [0x11]);
    guest.put(0, [0x22]);
    const change = code('c7 04 25', le(PD + 8, 4), le(P | RW | PS, 4));
    const bytes = code(read(0x200000), change, '0f 01 3c 25 00 30 20 00', read(0x200000), 'f4');
    assert.equal(guest.run(bytes), L.EXIT_HALT);
    assert.equal(guest.get64(L.RAX) & 0xffn, 0x22n);
  });
});

describe('32-bit paging', () => {
  const DIRECTORY = 0x1000;
  const TABLE = 0x2000;

  function with32(cr4 = 0n): Guest {
    const guest = new Guest('protected');
    for (let page = 0; page < 1024; page++)
      guest.put(TABLE + page * 4, le((page << 12) | P | RW | US, 4));
    guest.put(DIRECTORY, le(TABLE | P | RW | US, 4));
    guest.set64(L.CR3, BigInt(DIRECTORY));
    guest.set64(L.CR4, cr4);
    guest.set64(L.CR0, 0x80010011n);
    return guest;
  }
  const read32 = (address: number): number[] => code('8a 05', le(address, 4));
  const write32 = (address: number): number[] => code('88 05', le(address, 4));
  const fault = (guest: Guest, bytes: readonly number[]): [number, bigint] | undefined => {
    const vector = guest.vector([...bytes, 0x0f, 0x0b]);
    if (vector === 6) return undefined;
    assert.equal(vector, 14);
    return [Number(guest.stack(0, 4)), guest.get64(L.CR2)];
  };

  test('maps 4 KiB pages and marks them', () => {
    const guest = with32();
    guest.put(TABLE + DATA_PAGE * 4, le((DATA + 0x3000) | P | RW, 4));
    guest.put(DATA + 0x3010, [0x42]);
    guest.run(code(read32(DATA + 0x10), write32(DATA), 'f4'));
    assert.equal(guest.get64(L.RAX), 0x42n);
    assert.equal(guest.peek(DATA + 0x3000, 1), 0x42n);
    assert.equal(Number(guest.peek(TABLE + DATA_PAGE * 4, 4)) & 0xfff, P | RW | A | D);
  });

  test('reports present, write and user', () => {
    const absent = with32();
    absent.put(TABLE + DATA_PAGE * 4, le(0, 4));
    assert.deepEqual(fault(absent, write32(DATA)), [E_W, BigInt(DATA)]);
    const user = with32().user();
    user.put(TABLE + DATA_PAGE * 4, le(DATA | P, 4));
    assert.deepEqual(fault(user, read32(DATA)), [E_P | E_U, BigInt(DATA)]);
  });

  test('with CR4.PSE an entry maps 4 MiB and bit 21 is reserved; without it PS is ignored', () => {
    const guest = with32(0x10n);
    guest.put(DIRECTORY + 4, le(P | RW | PS, 4));
    guest.put(DATA, [0x33]);
    guest.run(code(read32(0x400000 + DATA), 'f4'));
    assert.equal(guest.get64(L.RAX), 0x33n);
    const reserved = with32(0x10n);
    reserved.put(DIRECTORY + 4, le(0x200000 | P | RW | PS, 4));
    assert.deepEqual(fault(reserved, read32(0x400000)), [E_P | E_RSVD, 0x400000n]);
    const ignored = with32();
    ignored.put(DIRECTORY + 4, le(TABLE | P | RW | PS, 4));
    ignored.put(DATA, [0x44]);
    ignored.run(code(read32(0x400000 + DATA), 'f4'));
    assert.equal(ignored.get64(L.RAX), 0x44n);
  });
});

describe('PAE paging', () => {
  function withPae(efer = 0n): Guest {
    const guest = new Guest('protected');
    guest.put(PDPT, le(PD | P, 8));
    guest.put(PD, le(PT | P | RW | US, 8));
    for (let page = 0; page < 512; page++)
      guest.put(PT + page * 8, le((page << 12) | P | RW | US, 8));
    guest.set64(L.CR3, BigInt(PDPT));
    guest.set64(L.CR4, 0x20n);
    guest.set64(L.EFER, efer);
    guest.set64(L.CR0, 0x80010011n);
    return guest;
  }

  test('maps pages through four directory pointers', () => {
    const guest = withPae();
    guest.put(PDPT + 3 * 8, le(PD | P, 8));
    guest.put(DATA, [0x55]);
    guest.run(code('8a 05', le(0xc0000000 + DATA, 4), 'f4'));
    assert.equal(guest.get64(L.RAX), 0x55n);
    assert.equal(Number(guest.peek(PDPT + 3 * 8)), PD | P);
  });

  test('NX works with EFER.NXE', () => {
    const guest = withPae(0x800n);
    pte(guest, DATA_PAGE, NX | BigInt(DATA | P | RW));
    guest.put(DATA, HLT);
    assert.equal(guest.vector(code('e9', le(DATA - CODE - 5, 4))), 14);
    assert.equal(Number(guest.stack(0, 4)), E_P | E_I);
  });

  test('a reserved bit of a directory pointer is #GP when CR3 is written', () => {
    const guest = withPae();
    guest.put(DATA, le(PD | P | RW, 8));
    assert.equal(guest.vector(code('b8', le(DATA, 4), '0f 22 d8')), 13);
    assert.equal(guest.get64(L.CR3), BigInt(PDPT));
  });
});

describe('without paging', () => {
  test('linear addresses are physical', () => {
    const guest = new Guest('protected');
    guest.put(0x234567, [0x66]);
    guest.run(code('8a 05', le(0x234567, 4), 'f4'));
    assert.equal(guest.get64(L.RAX), 0x66n);
  });
});
