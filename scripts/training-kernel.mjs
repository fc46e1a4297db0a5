/**
 * The guest with which bundle.mjs runs the bundles: an ELF kernel with a PVH entry note (System V ABI,
 * chapter 4; Xen "x86/HVM direct boot ABI") that counts down for some tenths of a second, prints a word
 * and says that user space runs, again and again: one that goes on from a snapshot prints it, too.
 */
const ENTRY = 0x100_0000;
const CODE_OFFSET = 0x1000;
const NOTE_OFFSET = 0x800;
const LOOPS = 20_000_000;

const PT_LOAD = 1;
const PT_NOTE = 4;
const EM_X86_64 = 62;
const XEN_ELFNOTE_PHYS32_ENTRY = 18;

/** What it prints. */
export const TRAINING_WORD = 'pando';

/** Instructions of 32-bit protected mode. */
function code() {
  const loops = [0, 8, 16, 24].map((shift) => (LOOPS >>> shift) & 0xff);
  const say = [...`${TRAINING_WORD}\n`].flatMap((letter) => [0xb0, letter.charCodeAt(0), 0xee]);
  const round = [
    ...[0xb9, ...loops], // mov ecx, LOOPS
    ...[0x49, 0x75, 0xfd], // 1: dec ecx; jnz 1b
    ...[0xba, 0xf8, 0x03, 0, 0], // mov edx, 0x3f8
    ...say, // mov al, letter; out dx, al
    ...[0xba, 0xf4, 0, 0, 0], // mov edx, 0xf4
    ...[0xb0, 7, 0xee], // mov al, 7; out dx, al
  ];
  // jmp rel8, to the first of them
  return Uint8Array.from([...round, 0xeb, 0x100 - round.length - 2]);
}

/** The file's bytes. */
export function trainingKernel() {
  const instructions = code();
  const file = new Uint8Array(CODE_OFFSET + instructions.length);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, EM_X86_64, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(24, BigInt(ENTRY), true);
  view.setBigUint64(32, 64n, true);
  view.setUint16(52, 64, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, 2, true);
  const segment = (at, type, flags, offset, address, size) => {
    view.setUint32(at, type, true);
    view.setUint32(at + 4, flags, true);
    [offset, address, address, size, size, 4].forEach((value, index) => {
      view.setBigUint64(at + 8 + index * 8, BigInt(value), true);
    });
  };
  segment(64, PT_LOAD, 5, CODE_OFFSET, ENTRY, instructions.length);
  segment(120, PT_NOTE, 4, NOTE_OFFSET, 0, 20);
  [4, 4, XEN_ELFNOTE_PHYS32_ENTRY].forEach((word, index) => {
    view.setUint32(NOTE_OFFSET + index * 4, word, true);
  });
  file.set([0x58, 0x65, 0x6e, 0], NOTE_OFFSET + 12);
  view.setUint32(NOTE_OFFSET + 16, ENTRY, true);
  file.set(instructions, CODE_OFFSET);
  return file;
}
