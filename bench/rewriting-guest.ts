/**
 * A bare guest that writes functions into memory at random, calls them many times, and rewrites them
 * while they may be running translated. What it must compute, this file computes too.
 *
 * 1024 slots of 64 bytes hold `f(n, x): do x = (x + a) * b while (--n); return x`. Each round draws a
 * number (a linear congruential generator modulo 2^32), takes a slot of it, writes the slot's function
 * anew in one round of 64 and when there is none, and calls it. Every ROUNDS rounds the checksum goes to
 * the serial port: 0x55 and four bytes.
 */
import { buildElf, ENTRY, kernelLayout } from '#dist/loader/testing/elf-builder.js';

export const ROUNDS = 1 << 16;
const MULTIPLIER = 1664525;
const INCREMENT = 1013904223;
const SLOTS = 1024;
const SLOT_AREA = 0x200000;
const STACK = 0x1f0000;
/** Page tables: 4 MiB and the 2 MiB at 16 MiB, where the code is. */
const PML4 = 0x10000;
const PDPT = 0x11000;
const DIRECTORY = 0x12000;

const word = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);

/** 32-bit code that enters 64-bit mode and goes on behind itself (Intel SDM vol. 3, 9.8.5). */
function enterLongMode(): number[] {
  const store = (at: number, value: number): number[] => [0xc7, 0x05, ...word(at), ...word(value)];
  const head = [
    ...store(PML4, PDPT | 3),
    ...store(PDPT, DIRECTORY | 3),
    ...store(DIRECTORY, 0x83),
    ...store(DIRECTORY + 8, 0x200083),
    ...store(DIRECTORY + 64, 0x1000083),
    ...[0x0f, 0x20, 0xe0, 0x83, 0xc8, 0x20, 0x0f, 0x22, 0xe0], // CR4.PAE
    ...[0xb8, ...word(PML4), 0x0f, 0x22, 0xd8], // CR3
    ...[0xb9, ...word(0xc0000080), 0x0f, 0x32, 0x80, 0xcc, 0x01, 0x0f, 0x30], // EFER.LME
    ...[0x0f, 0x20, 0xc0, 0x0d, ...word(0x80000000), 0x0f, 0x22, 0xc0], // CR0.PG
  ];
  const gdt = ENTRY + head.length + 14;
  return [
    ...head,
    ...[0x0f, 0x01, 0x15, ...word(gdt)], // lgdt
    ...[0xea, ...word(gdt + 22), 0x08, 0x00], // jmp 8:64-bit code
    ...[0x0f, 0x00, ...word(gdt + 6)],
    ...[0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0x9b, 0xaf, 0],
  ];
}

/** Code at ENTRY; `seed` starts the generator. */
function machineCode(seed: number): Uint8Array {
  const draw = [0x45, 0x69, 0xc0, ...word(MULTIPLIER), 0x41, 0x81, 0xc0, ...word(INCREMENT)];
  const write = [
    ...[0xc6, 0x07, 0x05], // mov byte [rdi], 0x05: add eax, a
    ...[0x44, 0x89, 0x47, 0x01], // mov [rdi+1], r8d
    ...[0x66, 0xc7, 0x47, 0x05, 0x69, 0xc0], // mov word [rdi+5], 0xc069: imul eax, eax, b
    ...[0x44, 0x89, 0xc2, 0x83, 0xca, 0x01], // mov edx, r8d; or edx, 1
    ...[0x89, 0x57, 0x07], // mov [rdi+7], edx
    ...[0xc7, 0x47, 0x0b, 0xff, 0xc9, 0x75, 0xf1], // mov dword [rdi+11]: dec ecx; jnz
    ...[0xc6, 0x47, 0x0f, 0xc3], // mov byte [rdi+15], 0xc3: ret
  ];
  const choose = [
    ...[0x44, 0x89, 0xc0, 0xc1, 0xe8, 0x0c], // mov eax, r8d; shr eax, 12
    ...[0x25, ...word(SLOTS - 1), 0xc1, 0xe0, 0x06], // and eax, 1023; shl eax, 6
    ...[0x48, 0x8d, 0x3c, 0x03], // lea rdi, [rbx+rax]
    ...[0x44, 0x89, 0xc2, 0xc1, 0xea, 0x1a], // mov edx, r8d; shr edx, 26
    ...[0x74, 0x05], // jz write
    ...[0x80, 0x3f, 0x05], // cmp byte [rdi], 5
    ...[0x74, write.length], // je call
  ];
  const call = [
    ...[0x44, 0x89, 0xc1, 0x81, 0xe1, ...word(0xff), 0x83, 0xc1, 0x03], // mov ecx, r8d; and ecx, 0xff; add ecx, 3
    ...[0x44, 0x89, 0xc0, 0xff, 0xd7], // mov eax, r8d; call rdi
    ...[0x41, 0x31, 0xc2, 0x41, 0xd1, 0xc2], // xor r10d, eax; rol r10d, 1
    ...[0x41, 0xff, 0xc9], // dec r9d
  ];
  const round = [...draw, ...choose, ...write, ...call];
  const report = [
    ...[0x66, 0xba, 0xf8, 0x03, 0xb0, 0x55, 0xee], // mov dx, COM1; mov al, 0x55; out dx, al
    ...[0x44, 0x89, 0xd0], // mov eax, r10d
    ...[0xee, 0xc1, 0xe8, 0x08, 0xee, 0xc1, 0xe8, 0x08, 0xee, 0xc1, 0xe8, 0x08, 0xee], // out dx, al; shr eax, 8 …
  ];
  const start = [
    ...[0xbc, ...word(STACK), 0xbb, ...word(SLOT_AREA)], // mov esp; mov ebx
    ...[0x41, 0xb8, ...word(seed), 0x45, 0x31, 0xd2], // mov r8d, seed; xor r10d, r10d
  ];
  const again = [0x41, 0xb9, ...word(ROUNDS)]; // mov r9d, ROUNDS
  const back = [0x0f, 0x85, ...word(-(round.length + 6))]; // jnz round
  const length = again.length + round.length + back.length + report.length + 5;
  return Uint8Array.from([
    ...enterLongMode(),
    ...start,
    ...again,
    ...round,
    ...back,
    ...report,
    ...[0xe9, ...word(-length)],
  ]);
}

/** File offset of ENTRY in what `kernelLayout` lays out. */
const ENTRY_OFFSET = 0x1040;

/** A kernel file with the guest's code. */
export function rewritingKernel(seed: number): Uint8Array {
  const layout = kernelLayout(64);
  const code = machineCode(seed);
  return buildElf({ ...layout, contents: [...(layout.contents ?? []), [ENTRY_OFFSET, code]] });
}

/** The checksums that the guest prints. */
export class RewritingModel {
  readonly #slots = new Map<number, number>();
  #random: number;
  #sum = 0;

  constructor(seed: number) {
    this.#random = seed | 0;
  }

  /** The next checksum. */
  next(): number {
    for (let round = 0; round < ROUNDS; round++) {
      this.#random = (Math.imul(this.#random, MULTIPLIER) + INCREMENT) | 0;
      const random = this.#random;
      const slot = (random >>> 12) & (SLOTS - 1);
      if (random >>> 26 === 0 || !this.#slots.has(slot)) this.#slots.set(slot, random);
      const a = this.#slots.get(slot) ?? 0;
      const b = a | 1;
      let x = random;
      for (let n = (random & 0xff) + 3; n > 0; n--) x = Math.imul(x + a, b);
      const mixed = this.#sum ^ x;
      this.#sum = (mixed << 1) | (mixed >>> 31);
    }
    return this.#sum >>> 0;
  }
}
