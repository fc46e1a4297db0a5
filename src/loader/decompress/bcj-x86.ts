/**
 * Undoes the x86 branch filter of .xz (The .xz File Format, 5.3.2): CALL and JMP operands, which the
 * encoder made absolute for better compression, become relative again.
 */

/** Opcodes of CALL rel32 and JMP rel32 differ in bit 0 only. */
const BRANCH_MASK = 0xfe;
const BRANCH_OPCODE = 0xe8;
const BRANCH_LENGTH = 5;

function isSignByte(value: number): boolean {
  return value === 0x00 || value === 0xff;
}

/**
 * Filters `bytes` in place.
 *
 * The filter skips what is likely not a branch: it keeps which of the last three bytes looked like an
 * opcode whose operand was left alone (bit n: n + 1 bytes ago), since operands may contain opcodes.
 * @param startOffset address of the first byte (the filter's property), usually 0
 */
export function undoX86Filter(bytes: Uint8Array, startOffset = 0): void {
  const limit = bytes.length - BRANCH_LENGTH;
  let recent = 0;
  let previous = -BRANCH_LENGTH;
  for (let at = 0; at <= limit; at++) {
    if ((bytes[at]! & BRANCH_MASK) !== BRANCH_OPCODE) continue;
    const gap = at - previous;
    previous = at;
    recent = gap > 3 ? 0 : (recent << (gap - 1)) & 7;
    // How many bytes ago the one recent opcode was.
    const nearest = recent === 4 ? 3 : recent;
    if (recent !== 0) {
      // Three patterns leave a byte of the operand that can tell; the others are never a branch.
      const decidable = recent === 1 || recent === 2 || recent === 4;
      if (!decidable || isSignByte(bytes[at + BRANCH_LENGTH - 1 - nearest]!)) {
        recent = ((recent << 1) | 1) & 7;
        continue;
      }
    }
    if (!isSignByte(bytes[at + 4]!)) {
      recent = ((recent << 1) | 1) & 7;
      continue;
    }
    const next = (startOffset + at + BRANCH_LENGTH) | 0;
    let operand =
      bytes[at + 1]! | (bytes[at + 2]! << 8) | (bytes[at + 3]! << 16) | (bytes[at + 4]! << 24);
    let target = (operand - next) | 0;
    if (recent !== 0) {
      const shift = 8 * nearest;
      while (isSignByte((target >>> (24 - shift)) & 0xff)) {
        operand = target ^ ((1 << (32 - shift)) - 1);
        target = (operand - next) | 0;
      }
    }
    bytes[at + 1] = target;
    bytes[at + 2] = target >>> 8;
    bytes[at + 3] = target >>> 16;
    bytes[at + 4] = (target & 0x01000000) === 0 ? 0x00 : 0xff;
    // The next byte looked at is five on, too far for this opcode to count as recent.
    at += BRANCH_LENGTH - 1;
  }
}
