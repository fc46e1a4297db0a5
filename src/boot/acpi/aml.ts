/**
 * An encoder for the part of the ACPI Machine Language that a static DSDT needs.
 *
 * Source: ACPI specification 6.4, chapter 20 (AML), 6.4 resource data types, 19.3.4 EISAID encoding.
 * Each function returns the encoded bytes of one term.
 */

const ZERO_OP = 0x00;
const ONE_OP = 0x01;
const NAME_OP = 0x08;
const BYTE_PREFIX = 0x0a;
const WORD_PREFIX = 0x0b;
const DWORD_PREFIX = 0x0c;
const STRING_PREFIX = 0x0d;
const QWORD_PREFIX = 0x0e;
const SCOPE_OP = 0x10;
const BUFFER_OP = 0x11;
const METHOD_OP = 0x14;
const NOTIFY_OP = 0x86;
const PACKAGE_OP = 0x12;
const EXT_OP = 0x5b;
const DEVICE_OP = 0x82;
const ROOT_CHAR = 0x5c;
const DUAL_NAME_PREFIX = 0x2e;
const MULTI_NAME_PREFIX = 0x2f;

const SEGMENT_CHARS = 4;

function concat(parts: readonly (Uint8Array | readonly number[])[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}

function littleEndian(value: bigint, length: number): number[] {
  return Array.from({ length }, (_, i) => Number((value >> BigInt(i * 8)) & 0xffn));
}

/** PkgLength counts itself: 1 byte up to 63, else a lead byte and 1 to 3 more. */
function packageLength(contents: number): number[] {
  if (contents + 1 < 0x40) return [contents + 1];
  for (let extra = 1; extra <= 3; extra += 1) {
    const total = contents + 1 + extra;
    if (total < 2 ** (4 + 8 * extra)) {
      return [(extra << 6) | (total & 15), ...littleEndian(BigInt(total >>> 4), extra)];
    }
  }
  throw new RangeError(`AML package of ${contents} bytes exceeds 2^28`);
}

function enclose(opcode: readonly number[], contents: Uint8Array): Uint8Array {
  return concat([opcode, packageLength(contents.length), contents]);
}

/** A NameString such as `_HID`, `\_SB` or `\_SB.COM1`; segments are padded with underscores. */
export function nameString(path: string): Uint8Array {
  const root = path.startsWith('\\');
  const segments = (root ? path.slice(1) : path).split('.');
  const encoded = segments.map((segment) => {
    if (!/^[A-Z_][A-Z0-9_]{0,3}$/.test(segment)) {
      throw new RangeError(`AML name segment "${segment}" is not 1 to 4 of A–Z, 0–9 and _`);
    }
    return new TextEncoder().encode(segment.padEnd(SEGMENT_CHARS, '_'));
  });
  let prefix: number[] = [];
  if (segments.length === 2) prefix = [DUAL_NAME_PREFIX];
  else if (segments.length > 2) prefix = [MULTI_NAME_PREFIX, segments.length];
  return concat([root ? [ROOT_CHAR] : [], prefix, ...encoded]);
}

/** An integer in the shortest encoding; 0 to 2^64 - 1. */
export function integer(value: number | bigint): Uint8Array {
  const big = BigInt(value);
  if (big === 0n) return Uint8Array.of(ZERO_OP);
  if (big === 1n) return Uint8Array.of(ONE_OP);
  if (big < 0x100n) return Uint8Array.of(BYTE_PREFIX, Number(big));
  if (big < 0x1_0000n) return Uint8Array.of(WORD_PREFIX, ...littleEndian(big, 2));
  if (big < 0x1_0000_0000n) return Uint8Array.of(DWORD_PREFIX, ...littleEndian(big, 4));
  return Uint8Array.of(QWORD_PREFIX, ...littleEndian(big, 8));
}

/** An ASCII string. */
export function string(value: string): Uint8Array {
  return concat([[STRING_PREFIX], new TextEncoder().encode(value), [0]]);
}

/** A compressed EISA id such as `PNP0501`: an integer whose bytes are in big-endian order. */
export function eisaId(id: string): Uint8Array {
  if (!/^[A-Z]{3}[0-9A-F]{4}$/.test(id)) {
    throw new RangeError(`EISA id "${id}" is not three letters and four hexadecimal digits`);
  }
  const letter = (i: number): number => id.charCodeAt(i) - 0x40;
  const vendor = (letter(0) << 10) | (letter(1) << 5) | letter(2);
  const product = Number.parseInt(id.slice(3), 16);
  return Uint8Array.of(DWORD_PREFIX, vendor >>> 8, vendor & 0xff, product >>> 8, product & 0xff);
}

/** `Name (path, value)`. */
export function name(path: string, value: Uint8Array): Uint8Array {
  return concat([[NAME_OP], nameString(path), value]);
}

/** `Package () { … }` of at most 255 elements. */
export function packageOf(elements: readonly Uint8Array[]): Uint8Array {
  return enclose([PACKAGE_OP], concat([[elements.length], ...elements]));
}

/** `Buffer () { … }`. */
export function buffer(bytes: Uint8Array): Uint8Array {
  return enclose([BUFFER_OP], concat([integer(bytes.length), bytes]));
}

/** `Scope (path) { … }`. */
export function scope(path: string, terms: readonly Uint8Array[]): Uint8Array {
  return enclose([SCOPE_OP], concat([nameString(path), ...terms]));
}

/** `Device (path) { … }`. */
export function device(path: string, terms: readonly Uint8Array[]): Uint8Array {
  return enclose([EXT_OP, DEVICE_OP], concat([nameString(path), ...terms]));
}

/** `Method (path) { … }` without arguments. */
export function method(path: string, terms: readonly Uint8Array[]): Uint8Array {
  return enclose([METHOD_OP], concat([nameString(path), [0], ...terms]));
}

/** `Notify (path, value)`. */
export function notify(path: string, value: number): Uint8Array {
  return concat([[NOTIFY_OP], nameString(path), integer(value)]);
}

/** `ResourceTemplate () { … }`: descriptors, an end tag, and a checksum of 0 (not checked). */
export function resourceTemplate(descriptors: readonly Uint8Array[]): Uint8Array {
  return buffer(concat([...descriptors, [0x79, 0x00]]));
}

/** `IO (Decode16, first, first, 1, length)`. */
export function ioPorts(first: number, length: number): Uint8Array {
  return Uint8Array.of(0x47, 0x01, first & 0xff, first >>> 8, first & 0xff, first >>> 8, 1, length);
}

/** `IRQNoFlags () { irq }`: an edge-triggered, active-high ISA interrupt, 0–15. */
export function isaIrq(irq: number): Uint8Array {
  return Uint8Array.of(0x22, (1 << irq) & 0xff, (1 << irq) >>> 8);
}

/** `Memory32Fixed (ReadWrite, first, length)`. */
export function memory32(first: number, length: number): Uint8Array {
  const bytes = [...littleEndian(BigInt(first), 4), ...littleEndian(BigInt(length), 4)];
  return Uint8Array.of(0x86, 9, 0, 1, ...bytes);
}

/** `Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { input }`. */
export function edgeInterrupt(input: number): Uint8Array {
  return Uint8Array.of(0x89, 6, 0, 0x03, 1, ...littleEndian(BigInt(input), 4));
}
