/**
 * Extended attributes as EROFS keeps them behind an inode: a header of 12 bytes, then entries of
 * {name length, prefix index, value size, name without its prefix, value}, each padded to 4 bytes
 * (Linux, Documentation/filesystems/erofs.rst, "Inode metadata space").
 */
import { PandoError } from '../../error.js';
import { displayName } from '../file-tree.js';

const HEADER_SIZE = 12;
const ENTRY_SIZE = 4;
const ALIGNMENT = 4;
/** i_xattr_icount has 16 bits: the header, and this many times 4 bytes. */
const BODY_LIMIT = HEADER_SIZE + ALIGNMENT * 0xfffe;
/** XATTR_NAME_MAX and XATTR_SIZE_MAX of Linux; the entry's fields hold 8 and 16 bits. */
const NAME_LIMIT = 255;
const VALUE_LIMIT = 0xffff;

/** Prefixes by their index (EROFS_XATTR_INDEX_*). Names of ACLs are their prefix. */
const PREFIXES: readonly (readonly [index: number, prefix: string])[] = [
  [1, 'user.'],
  [2, 'system.posix_acl_access'],
  [3, 'system.posix_acl_default'],
  [4, 'trusted.'],
  [6, 'security.'],
];

const align = (size: number) => Math.ceil(size / ALIGNMENT) * ALIGNMENT;

function splitName(name: string): { readonly index: number; readonly rest: string } | undefined {
  for (const [index, prefix] of PREFIXES) {
    const whole = !prefix.endsWith('.');
    if (whole ? name === prefix : name.startsWith(prefix) && name.length > prefix.length) {
      return { index, rest: name.slice(prefix.length) };
    }
  }
  return undefined;
}

/** Whether the format has a place for an attribute of this name. */
export function isStorableXattr(name: string): boolean {
  const split = splitName(name);
  return split !== undefined && split.rest.length <= NAME_LIMIT;
}

/**
 * The attributes' bytes, in the order of their indexes and names; none for no attributes.
 * @throws PandoError EROFS_XATTR_UNSUPPORTED, EROFS_XATTR_TOO_LARGE
 */
export function encodeXattrs(xattrs: ReadonlyMap<string, Uint8Array>): Uint8Array {
  if (xattrs.size === 0) return new Uint8Array(0);
  const entries = [...xattrs].map(([name, value]) => {
    const split = splitName(name);
    if (split === undefined || split.rest.length > NAME_LIMIT) {
      throw new PandoError(
        'EROFS_XATTR_UNSUPPORTED',
        `extended attribute ${JSON.stringify(displayName(name))} has no place in EROFS`,
      );
    }
    if (value.length > VALUE_LIMIT) {
      throw new PandoError(
        'EROFS_XATTR_TOO_LARGE',
        `extended attribute ${displayName(name)} has ${value.length} bytes, the limit is ${VALUE_LIMIT}`,
      );
    }
    return { ...split, value, size: align(ENTRY_SIZE + split.rest.length + value.length) };
  });
  entries.sort((a, b) => a.index - b.index || (a.rest < b.rest ? -1 : 1));
  const size = entries.reduce((total, entry) => total + entry.size, HEADER_SIZE);
  if (size > BODY_LIMIT) {
    throw new PandoError(
      'EROFS_XATTR_TOO_LARGE',
      `extended attributes of one file need ${size} bytes, the limit is ${BODY_LIMIT}`,
    );
  }
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  let at = HEADER_SIZE;
  for (const { index, rest, value, size: length } of entries) {
    view.setUint8(at, rest.length);
    view.setUint8(at + 1, index);
    view.setUint16(at + 2, value.length, true);
    bytes.set(Buffer.from(rest, 'latin1'), at + ENTRY_SIZE);
    bytes.set(value, at + ENTRY_SIZE + rest.length);
    at += length;
  }
  return bytes;
}

/** i_xattr_icount for a body of `size` bytes. */
export function xattrCount(size: number): number {
  return size === 0 ? 0 : (size - HEADER_SIZE) / ALIGNMENT + 1;
}

/** Bytes of the body that i_xattr_icount tells. */
export function xattrBodySize(count: number): number {
  return count === 0 ? 0 : HEADER_SIZE + ALIGNMENT * (count - 1);
}

/**
 * Reads a body of inline attributes; shared ones are refused.
 * @param malformed makes the error for what is wrong at an offset of the body
 */
export function decodeXattrs(
  bytes: Uint8Array,
  malformed: (what: string, offset: number) => PandoError,
): Map<string, Uint8Array> {
  const found = new Map<string, Uint8Array>();
  if (bytes.length === 0) return found;
  if (bytes[4] !== 0) throw malformed('shared extended attributes, which are not supported', 4);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = HEADER_SIZE; at < bytes.length; ) {
    const nameLength = view.getUint8(at);
    const index = view.getUint8(at + 1);
    const valueAt = at + ENTRY_SIZE + nameLength;
    const end = valueAt + view.getUint16(at + 2, true);
    if (end > bytes.length) throw malformed('an extended attribute that passes its body', at);
    const prefix = PREFIXES.find(([known]) => known === index)?.[1];
    if (prefix === undefined) throw malformed(`extended attribute prefix ${index}`, at);
    const rest = Buffer.from(bytes.subarray(at + ENTRY_SIZE, valueAt)).toString('latin1');
    const name = prefix + rest;
    if (splitName(name)?.index !== index || found.has(name)) {
      throw malformed(`extended attribute name ${JSON.stringify(displayName(name))}`, at);
    }
    found.set(name, bytes.slice(valueAt, end));
    at = align(end);
  }
  return found;
}
