/** Machine code as text, with iced-x86 where it is installed. */

/** One instruction. */
export interface CodeLine {
  readonly address: bigint;
  readonly length: number;
  /** Intel syntax; without a disassembler the bytes. */
  readonly text: string;
}

/**
 * The first instructions of a piece of code.
 * @param address linear address of the first byte
 * @param bits 16, 32 or 64
 * @param most instructions at most
 */
export async function disassemble(
  code: Uint8Array,
  address: bigint,
  bits: number,
  most: number,
): Promise<CodeLine[]> {
  const iced = await import('iced-x86').catch(() => undefined);
  if (iced === undefined) {
    const text = `bytes ${Buffer.from(code.subarray(0, 32)).toString('hex')} (install iced-x86 to see instructions)`;
    return code.length === 0 ? [] : [{ address, length: code.length, text }];
  }
  const decoder = new iced.Decoder(bits, code, iced.DecoderOptions.None);
  const formatter = new iced.Formatter(iced.FormatterSyntax.Intel);
  decoder.ip = address;
  const lines: CodeLine[] = [];
  while (decoder.canDecode && lines.length < most) {
    const instruction = decoder.decode();
    lines.push({
      address: instruction.ip,
      length: instruction.length,
      text: formatter.format(instruction),
    });
    instruction.free();
  }
  formatter.free();
  decoder.free();
  return lines;
}

/** Lines such as `ffffffff81000000  mov rax, rbx`. */
export function codeText(lines: readonly CodeLine[]): string[] {
  return lines.map(({ address, text }) => `  ${address.toString(16).padStart(16, '0')}  ${text}`);
}

/** Arithmetic flags as RFLAGS has them, by the bits of iced-x86's RflagsBits. */
const FLAG_BITS = [0x800, 0x80, 0x40, 0x10, 0x1, 0x4] as const;

/** The flags, as bits of RFLAGS, that the first instruction leaves undefined (Intel SDM vol. 2). */
export async function undefinedFlags(code: Uint8Array, bits: number): Promise<number> {
  const iced = await import('iced-x86').catch(() => undefined);
  if (iced === undefined) return 0;
  const decoder = new iced.Decoder(bits, code, iced.DecoderOptions.None);
  const instruction = decoder.decode();
  const undefinedBits = instruction.rflagsUndefined;
  instruction.free();
  decoder.free();
  return FLAG_BITS.reduce(
    (flags, flag, bit) => (undefinedBits & (1 << bit) ? flags | flag : flags),
    0,
  );
}
