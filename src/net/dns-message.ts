/** DNS messages (RFC 1035, 4): the question, and the addresses of an answer. */
import { read16, read32, write16, write32 } from './bytes.js';

export const DNS_PORT = 53;
export const DNS_HEADER_BYTES = 12;

export const TYPE_A = 1;
export const TYPE_PTR = 12;
export const TYPE_AAAA = 28;
const CLASS_IN = 1;

export const RCODE_OK = 0;
export const RCODE_SERVER_FAILURE = 2;
export const RCODE_NO_SUCH_NAME = 3;
export const RCODE_NOT_IMPLEMENTED = 4;
export const RCODE_REFUSED = 5;

const QR = 0x8000;
const OPCODE = 0x7800;
const TC = 0x0200;
const RD = 0x0100;
const RA = 0x0080;

const POINTER = 0xc0;
const NAME_LIMIT = 255;
/** Pointers followed in one name; names of the wire need a handful. */
const POINTER_LIMIT = 32;
/** Records looked at in one answer. */
const RECORD_LIMIT = 512;
const RECORD_BYTES = 10;

/** A query with one question. */
export interface DnsQuery {
  readonly id: number;
  readonly flags: number;
  /** Lower-case, without the dot at the end; the root is ''. */
  readonly name: string;
  readonly type: number;
  readonly isInternet: boolean;
  /** Where the question ends in the message. */
  readonly questionEnd: number;
}

/** An address that an answer gives, with how long it holds in seconds. */
export interface DnsAddress {
  readonly address: number;
  readonly ttl: number;
}

interface ReadName {
  readonly name: string;
  /** Behind the name where it stands, not where a pointer led. */
  readonly end: number;
}

/** A name at `at`, lower-case; undefined when it is malformed, too long or goes round in circles. */
function readName(bytes: Uint8Array, at: number): ReadName | undefined {
  const labels: string[] = [];
  let end: number | undefined;
  let total = 1;
  let pointers = 0;
  for (let position = at; ; ) {
    const length = bytes[position];
    if (length === undefined) return undefined;
    if (length === 0) return { name: labels.join('.'), end: end ?? position + 1 };
    if ((length & POINTER) === POINTER) {
      if (position + 1 >= bytes.length || pointers === POINTER_LIMIT) return undefined;
      pointers += 1;
      end ??= position + 2;
      position = read16(bytes, position) & 0x3fff;
      continue;
    }
    total += length + 1;
    if ((length & POINTER) !== 0 || total > NAME_LIMIT) return undefined;
    if (position + 1 + length > bytes.length) return undefined;
    labels.push(labelText(bytes, position + 1, length));
    position += 1 + length;
  }
}

/** Bytes that could be mistaken for the text's own dots and escapes are escaped (RFC 1035, 5.1). */
function labelText(bytes: Uint8Array, start: number, length: number): string {
  let text = '';
  for (let at = start; at < start + length; at += 1) {
    const byte = bytes[at]!;
    const plain = byte > 0x20 && byte < 0x7f && byte !== 0x2e && byte !== 0x5c;
    text += plain
      ? String.fromCharCode(byte).toLowerCase()
      : `\\${byte.toString().padStart(3, '0')}`;
  }
  return text;
}

/** The query in a whole message; undefined when it is none with exactly one question. */
export function parseDnsQuery(bytes: Uint8Array): DnsQuery | undefined {
  if (bytes.length < DNS_HEADER_BYTES) return undefined;
  const flags = read16(bytes, 2);
  if ((flags & QR) !== 0 || read16(bytes, 4) !== 1) return undefined;
  return question(bytes, flags);
}

function question(bytes: Uint8Array, flags: number): DnsQuery | undefined {
  const read = readName(bytes, DNS_HEADER_BYTES);
  if (read === undefined || read.end + 4 > bytes.length) return undefined;
  return {
    id: read16(bytes, 0),
    flags,
    name: read.name,
    type: read16(bytes, read.end),
    isInternet: read16(bytes, read.end + 2) === CLASS_IN,
    questionEnd: read.end + 4,
  };
}

/** Whether the query is one that a resolver answers: not a transfer, an update or a notice. */
export function isStandardQuery({ flags }: DnsQuery): boolean {
  return (flags & OPCODE) === 0;
}

/** Whether a message is the answer to a query: its id and question are the same. */
export function answersQuery(bytes: Uint8Array, query: DnsQuery): boolean {
  if (bytes.length < DNS_HEADER_BYTES) return false;
  const flags = read16(bytes, 2);
  if ((flags & QR) === 0 || read16(bytes, 0) !== query.id) return false;
  // An error may come without the question (RFC 1035, 4.1.1 leaves it open).
  if (read16(bytes, 4) === 0) return (flags & 15) !== RCODE_OK;
  const asked = question(bytes, flags);
  return asked?.name === query.name && asked.type === query.type;
}

/** The IPv4 addresses in the answer section of a response to `query`. */
export function addressesOf(bytes: Uint8Array, query: DnsQuery): DnsAddress[] {
  const found: DnsAddress[] = [];
  const asked = question(bytes, read16(bytes, 2));
  if (asked === undefined || asked.name !== query.name) return found;
  let at = asked.questionEnd;
  const count = Math.min(read16(bytes, 6), RECORD_LIMIT);
  for (let index = 0; index < count; index += 1) {
    const name = readName(bytes, at);
    if (name === undefined || name.end + RECORD_BYTES > bytes.length) return found;
    const length = read16(bytes, name.end + 8);
    const data = name.end + RECORD_BYTES;
    if (data + length > bytes.length) return found;
    if (read16(bytes, name.end) === TYPE_A && length === 4) {
      found.push({ address: read32(bytes, data), ttl: read32(bytes, name.end + 4) });
    }
    at = data + length;
  }
  return found;
}

/**
 * A response of our own: the question, and one record for each of `data`.
 * @param bytes the query's message
 */
export function buildDnsResponse(
  bytes: Uint8Array,
  query: DnsQuery,
  rcode: number,
  data: readonly Uint8Array[] = [],
  ttl = 0,
): Uint8Array {
  const records = data.reduce((sum, value) => sum + 2 + RECORD_BYTES + value.length, 0);
  const response = new Uint8Array(query.questionEnd + records);
  response.set(bytes.subarray(0, query.questionEnd));
  write16(response, 2, QR | (query.flags & (OPCODE | RD)) | RA | rcode);
  write16(response, 6, data.length);
  write32(response, 8, 0);
  let at = query.questionEnd;
  for (const value of data) {
    write16(response, at, (POINTER << 8) | DNS_HEADER_BYTES);
    write16(response, at + 2, query.type);
    write16(response, at + 4, CLASS_IN);
    write32(response, at + 6, ttl);
    write16(response, at + 10, value.length);
    response.set(value, at + 12);
    at += 12 + value.length;
  }
  return response;
}

/** The query's question alone, with the bit that sends the guest to TCP (RFC 7766). */
export function buildTruncated(bytes: Uint8Array, query: DnsQuery): Uint8Array {
  const response = buildDnsResponse(bytes, query, RCODE_OK);
  write16(response, 2, read16(response, 2) | TC);
  return response;
}

/** A name as the wire has it, for PTR records. @param name of labels of at most 63 ASCII characters */
export function encodeName(name: string): Uint8Array {
  const labels = name.split('.');
  const bytes = new Uint8Array(labels.reduce((sum, label) => sum + 1 + label.length, 1));
  let at = 0;
  for (const label of labels) {
    bytes[at] = label.length;
    bytes.set(new TextEncoder().encode(label), at + 1);
    at += 1 + label.length;
  }
  return bytes;
}
