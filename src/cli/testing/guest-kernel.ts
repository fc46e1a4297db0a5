/** Kernels of a few instructions that use the serial port. */
import { writeFileSync } from 'node:fs';
import { buildElf, concat, kernelLayout } from '../../loader/testing/elf-builder.js';

/** File offset of the entry point in the layout that `kernelLayout` gives. */
const ENTRY_OFFSET = 0x1040;
/** CLI; HLT; JMP to the HLT. */
export const STAY = Uint8Array.of(0xfa, 0xf4, 0xeb, 0xfd);
/** MOV AL, 'x'; OUT DX, AL; JMP to the OUT: prints for ever, after `say`. */
export const PRINT_ON = Uint8Array.of(0xb0, 0x78, 0xee, 0xeb, 0xfd);

/** MOV DX, COM1; then MOV AL, byte and OUT DX, AL for each byte of the text. */
export function say(text: string): Uint8Array {
  const bytes = Buffer.from(text, 'latin1');
  return Uint8Array.of(0x66, 0xba, 0xf8, 0x03, ...[...bytes].flatMap((byte) => [0xb0, byte, 0xee]));
}

/** Writes a kernel of these instructions and returns its path. */
export function guestKernel(path: string, ...code: Uint8Array[]): string {
  const layout = kernelLayout(64);
  const contents = [...(layout.contents ?? []), [ENTRY_OFFSET, concat(...code)] as const];
  writeFileSync(path, buildElf({ ...layout, contents }));
  return path;
}
