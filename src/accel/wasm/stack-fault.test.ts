/** Addresses that are not canonical (Intel SDM vol. 1, 3.3.7.1): #SS(0) through the stack, else #GP(0). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as L from './layout.js';
import { CODE, code, DATA, Guest, INTERRUPT_GATE } from './testing/guest.js';

const SS = 12;
const GP = 13;
const WILD = 1n << 63n;
/** An access of 8 bytes here ends beyond the lower half. */
const EDGE = 0x7fff_ffff_fffcn;

/** Registers that hold WILD, the instruction, and its exception. */
const FORMS: ReadonlyArray<readonly [registers: string, bytes: string, vector: number]> = [
  ['rbx', '48 8b 03', GP], // mov rax,[rbx]
  ['rbp', '48 8b 45 00', SS], // mov rax,[rbp]
  ['rbp', '48 89 45 08', SS], // mov [rbp+8],rax
  ['rbp', 'c6 45 00 01', SS], // mov byte [rbp],1
  ['rsp', '48 8b 44 24 10', SS], // mov rax,[rsp+16]
  ['rsp', '48 8b 04 24', SS], // mov rax,[rsp]
  ['r12', '49 8b 04 24', GP], // mov rax,[r12]
  ['r13', '49 8b 45 00', GP], // mov rax,[r13]
  ['rbp', '48 8b 04 2d 00 00 00 00', GP], // mov rax,[rbp*1+0]
  ['rbp', '48 8b 04 2b', GP], // mov rax,[rbx+rbp]
  ['rbp', '48 8b 44 1d 00', SS], // mov rax,[rbp+rbx]
  ['rbp', '3e 48 8b 45 00', SS], // DS: is ignored
  ['rbp', '64 48 8b 45 00', GP], // FS:
  ['rbp', '65 48 89 45 00', GP], // GS:
  ['rbp', '83 45 00 01', SS], // add dword [rbp],1
  ['rbp', '48 03 45 00', SS], // add rax,[rbp]
  ['rbp', 'f0 0f c1 45 00', SS], // lock xadd [rbp],eax
  ['rbp', '0f b1 4d 00', SS], // cmpxchg [rbp],ecx
  ['rbp', '0f c7 4d 00', SS], // cmpxchg8b [rbp]
  ['rbp', '48 0f a3 4d 00', SS], // bt [rbp],rcx
  ['rbp', '0f b6 45 00', SS], // movzx eax,byte [rbp]
  ['rbp', '0f 94 45 00', SS], // sete [rbp]
  ['rbp', '0f 44 45 00', SS], // cmove eax,[rbp]
  ['rbp', '0f 10 45 00', SS], // movups xmm0,[rbp]
  ['rbp', '0f 29 45 00', SS], // movaps [rbp],xmm0
  ['rbp', 'f2 0f 58 45 00', SS], // addsd xmm0,[rbp]
  ['rbp', '66 0f ef 45 00', SS], // pxor xmm0,[rbp]
  ['rbx', '66 0f ef 03', GP], // pxor xmm0,[rbx]
  ['rbp', 'dd 45 00', SS], // fld qword [rbp]
  ['rbp', 'dd 5d 00', SS], // fstp qword [rbp]
  ['rbp', '0f ae 45 00', SS], // fxsave [rbp]
  ['rbp', '0f 01 45 00', SS], // sgdt [rbp]
  ['rbp', '0f 01 55 00', SS], // lgdt [rbp]
  ['rbp', '8e 5d 00', SS], // mov ds,[rbp]
  ['rbp', '48 0f b4 45 00', SS], // lfs rax,[rbp]
  ['rbp', 'ff 65 00', SS], // jmp [rbp]
  ['rbx', 'ff 23', GP], // jmp [rbx]
  ['rbp', 'ff 55 00', SS], // call [rbp]
  ['rbx', 'ff 13', GP], // call [rbx]
  ['rsp', 'ff 13', SS], // call [rbx], where RBX is good
  ['rbx', 'ff 33', GP], // push [rbx]
  ['rsp', 'ff 33', SS], // push [rbx], where RBX is good
  ['rbx', '8f 03', GP], // pop [rbx]
  ['rsp', '8f 03', SS], // pop [rbx], where RBX is good
  ['rsp', '50', SS], // push rax
  ['rsp', '66 50', SS], // push ax
  ['rsp', '6a 01', SS], // push 1
  ['rsp', '58', SS], // pop rax
  ['rsp', '9c', SS], // pushf
  ['rsp', '9d', SS], // popf
  ['rsp', '0f a0', SS], // push fs
  ['rsp', '0f a9', SS], // pop gs
  ['rsp', 'e8 00 00 00 00', SS], // call
  ['rsp', 'ff d0', SS], // call rax
  ['rsp', 'c3', SS], // ret
  ['rsp', 'c2 08 00', SS], // ret 8
  ['rsp', '48 cb', SS], // retf
  ['rsp', '48 cf', SS], // iretq
  ['rbp', 'c9', SS], // leave
  ['rsp', 'c8 08 00 00', SS], // enter 8,0
  ['rsi', 'ac', GP], // lodsb
  ['rdi', 'aa', GP], // stosb
  ['rsi', 'f3 48 a5', GP], // rep movsq
  ['rbx', 'd7', GP], // xlat
  ['rdi', '66 0f f7 c0', GP], // maskmovdqu xmm0,xmm0
];

const SLOTS: Readonly<Record<string, number>> = {
  rbx: L.RBX,
  rsp: L.RSP,
  rbp: L.RBP,
  rsi: L.RSI,
  rdi: L.RDI,
  r12: 96,
  r13: 104,
};

function guestWith(register: string, value: bigint): Guest {
  const guest = new Guest('long');
  for (const vector of [SS, GP]) guest.setGate(vector, INTERRUPT_GATE, 1);
  guest.set64(L.CR4, 0x620n);
  guest.set32(L.MXCSR, 0x1f80);
  for (const pointer of [L.RBX, L.RSI, L.RDI]) guest.set64(pointer, BigInt(DATA));
  guest.put(DATA, [0, 0, 2]);
  guest.set64(L.RCX, 1n);
  guest.set64(L.XMM, ~0n);
  guest.set64(SLOTS[register] ?? 0, value);
  return guest;
}

describe('a non-canonical address', () => {
  for (const [register, bytes, vector] of FORMS) {
    test(`in ${register}: ${bytes} is ${vector === SS ? '#SS' : '#GP'}`, () => {
      const guest = guestWith(register, WILD);
      assert.equal(guest.vector(code(bytes)), vector);
      // The error code, then RIP.
      assert.deepEqual([guest.stack(0), guest.stack(1)], [0n, BigInt(CODE)]);
    });
  }

  test('reached by the second half of an access', () => {
    const guest = guestWith('rbp', EDGE);
    // The page before the edge of the lower half, mapped to physical 0.
    guest.put(0x1000 + 255 * 8, [7, 0x20]);
    guest.put(0x2000 + 511 * 8, [7, 0x30]);
    guest.put(0x3000 + 511 * 8, [7, 0x40]);
    guest.put(0x4000 + 511 * 8, [7, 0]);
    assert.equal(guest.vector(code('48 8b 45 00')), SS);
  });

  test('at the end of a page: the instruction goes on in the next one', () => {
    const guest = guestWith('rbp', WILD);
    assert.equal(guest.vector(code('48 8b 85 00 00 00 00'), CODE + 0xffc), SS);
  });

  test('of a descriptor table is #GP, also in an instruction that uses the stack', () => {
    const guest = guestWith('rbx', BigInt(DATA));
    guest.setGate(GP, INTERRUPT_GATE, 1);
    guest.set64(L.GDT_BASE, WILD);
    // Its delivery needs the table, too.
    assert.equal(guest.run(code('6a 10 0f a1')), L.EXIT_SHUTDOWN);
  });
});
