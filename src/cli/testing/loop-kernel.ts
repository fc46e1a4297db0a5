/** A kernel of a few instructions, for tests of comparisons. */
import { writeFileSync } from 'node:fs';
import { buildElf, ENTRY, kernelLayout } from '../../loader/testing/elf-builder.js';

/** File offset of the entry point in the layout that `kernelLayout` gives. */
const ENTRY_OFFSET = 0x1040;
/**
 * To 64-bit code (the translator leaves other code alone): tables at 0x10000 map what is used; then
 * mov ecx, 100000; 1: add eax, ecx; imul edx, eax, 7; mov [0x9000], edx; dec ecx; jnz 1;
 * mov byte [0x9004], 5 (in the loop); mov dx, COM1; mov al, 'u'; out dx, al; hlt
 */
const LOOP = [
  ...[0xb9, 0xa0, 0x86, 0x01, 0x00],
  ...[0x01, 0xc8, 0x6b, 0xd0, 0x07, 0x89, 0x14, 0x25, 0x00, 0x90, 0x00, 0x00],
  ...[0xc6, 0x04, 0x25, 0x04, 0x90, 0x00, 0x00, 0x05, 0xff, 0xc9, 0x75, 0xe8],
  ...[0x66, 0xba, 0xf8, 0x03, 0xb0, 0x75, 0xee, 0xf4],
];

/** Little-endian bytes of a 32-bit number. */
const word = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);

/** Enters 64-bit mode and goes on with `code` behind it. */
function inLongMode(code: readonly number[], address: number): number[] {
  const store = (at: number, value: number): number[] => [0xc7, 0x05, ...word(at), ...word(value)];
  const head = [
    ...store(0x10000, 0x11003),
    ...store(0x11000, 0x12003),
    ...store(0x12000, 0x83),
    ...store(0x12040, 0x1000083),
    ...[0x0f, 0x20, 0xe0, 0x83, 0xc8, 0x20, 0x0f, 0x22, 0xe0], // CR4.PAE
    ...[0xb8, ...word(0x10000), 0x0f, 0x22, 0xd8], // CR3
    ...[0xb9, ...word(0xc0000080), 0x0f, 0x32, 0x80, 0xcc, 0x01, 0x0f, 0x30], // EFER.LME
    ...[0x0f, 0x20, 0xc0, 0x0d, ...word(0x80000000), 0x0f, 0x22, 0xc0], // CR0.PG
  ];
  const jump = 7 + 7;
  const gdt = address + head.length + jump;
  const start = gdt + 6 + 16;
  return [
    ...head,
    ...[0x0f, 0x01, 0x15, ...word(gdt)], // lgdt
    ...[0xea, ...word(start), 0x08, 0x00], // jmp 8:start
    ...[0x0f, 0x00, ...word(gdt + 6)],
    ...[0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0x9b, 0xaf, 0],
    ...code,
  ];
}

/** Writes a kernel whose code runs the loop in 64-bit mode, prints `u` and halts. */
export function loopKernel(path: string): string {
  const layout = kernelLayout(64);
  const code = Uint8Array.from(inLongMode(LOOP, ENTRY));
  const contents = [...(layout.contents ?? []), [ENTRY_OFFSET, code] as const];
  writeFileSync(path, buildElf({ ...layout, contents }));
  return path;
}
