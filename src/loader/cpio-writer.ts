/**
 * Writes cpio archives in the newc format, the same bytes for the same entries: inode numbers count up,
 * owners are root, times are fixed (Linux, "initramfs buffer format").
 */
import { PandoError } from '../error.js';
import {
  CPIO_NAME_LIMIT,
  CPIO_TRAILER,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFREG,
} from './cpio.js';

/** Archives are filled up to a whole number of these, as cpio does. */
const BLOCK_SIZE = 512;
const PERMISSION_MASK = 0o7777;
const FIELD_LIMIT = 0xffffffff;

/** An entry to write. `name` is relative, without `.` and `..`; `permissions` are the low 12 bits. */
export type CpioInput = { readonly name: string; readonly permissions: number } & (
  | { readonly kind: 'file'; readonly content: Uint8Array }
  | { readonly kind: 'directory' }
  | { readonly kind: 'symlink'; readonly target: string }
  | { readonly kind: 'character' | 'block'; readonly major: number; readonly minor: number }
  | { readonly kind: 'fifo' }
);

const TYPES: Record<CpioInput['kind'], number> = {
  file: S_IFREG,
  directory: S_IFDIR,
  symlink: S_IFLNK,
  character: S_IFCHR,
  block: S_IFBLK,
  fifo: S_IFIFO,
};

/** Settings of an archive. */
export interface CpioOptions {
  /** Modification time of every entry, in seconds since 1970; default 0. */
  readonly mtime?: number;
}

const encoder = new TextEncoder();

function header(fields: readonly number[], name: string): Uint8Array {
  const nameBytes = encoder.encode(`${name}\0`);
  const all = [...fields, nameBytes.length, 0];
  const text = `070701${all.map((value) => value.toString(16).padStart(8, '0')).join('')}`;
  const length = Math.ceil((text.length + nameBytes.length) / 4) * 4;
  const bytes = new Uint8Array(length);
  bytes.set(encoder.encode(text));
  bytes.set(nameBytes, text.length);
  return bytes;
}

function checkName(
  name: string,
  directories: ReadonlySet<string>,
  seen: ReadonlySet<string>,
): void {
  const parts = name.split('/');
  const badPart = parts.some((part) => part === '' || part === '.' || part === '..');
  if (badPart || name.includes('\0') || name === CPIO_TRAILER) {
    throw new PandoError(
      'CPIO_BAD_NAME',
      `cpio entry ${JSON.stringify(name)} is not a plain relative path`,
      { remedy: 'name entries like bin/sh: no leading slash, no . or ..' },
    );
  }
  const length = encoder.encode(name).length + 1;
  if (length > CPIO_NAME_LIMIT) {
    throw new PandoError(
      'CPIO_BAD_NAME',
      `a cpio entry's name has ${length} bytes, the limit is ${CPIO_NAME_LIMIT}`,
    );
  }
  if (seen.has(name)) {
    throw new PandoError(
      'CPIO_DUPLICATE_NAME',
      `two cpio entries are called ${JSON.stringify(name)}`,
    );
  }
  const parent = parts.slice(0, -1).join('/');
  if (parent !== '' && !directories.has(parent)) {
    throw new PandoError(
      'CPIO_PARENT_MISSING',
      `cpio entry ${JSON.stringify(name)} comes before its directory ${JSON.stringify(parent)}`,
      { remedy: 'the kernel makes no directories by itself: give each before its content' },
    );
  }
}

function contentOf(input: CpioInput): Uint8Array {
  if (input.kind === 'file') return input.content;
  if (input.kind === 'symlink') return encoder.encode(input.target);
  return new Uint8Array(0);
}

/**
 * The archive in pieces, so that its files need not be in memory together.
 * @throws PandoError CPIO_BAD_NAME, CPIO_DUPLICATE_NAME, CPIO_PARENT_MISSING, CPIO_FILE_TOO_LARGE,
 *   CPIO_BAD_FIELD
 */
export function* cpioChunks(
  entries: Iterable<CpioInput>,
  options: CpioOptions = {},
): Generator<Uint8Array> {
  const mtime = options.mtime ?? 0;
  const seen = new Set<string>();
  const directories = new Set<string>();
  let written = 0;
  let ino = 0;
  const padding = (align: number) => new Uint8Array(-written & (align - 1));
  for (const entry of entries) {
    checkName(entry.name, directories, seen);
    seen.add(entry.name);
    if (entry.kind === 'directory') directories.add(entry.name);
    const content = contentOf(entry);
    if (content.length > FIELD_LIMIT) {
      throw new PandoError(
        'CPIO_FILE_TOO_LARGE',
        `${entry.name} has ${content.length} bytes, newc holds at most ${FIELD_LIMIT}`,
      );
    }
    const isDevice = entry.kind === 'character' || entry.kind === 'block';
    const fields = [
      ++ino,
      TYPES[entry.kind] | (entry.permissions & PERMISSION_MASK),
      0,
      0,
      entry.kind === 'directory' ? 2 : 1,
      mtime,
      content.length,
      0,
      0,
      isDevice ? entry.major : 0,
      isDevice ? entry.minor : 0,
    ];
    if (fields.some((value) => !Number.isInteger(value) || value < 0 || value > FIELD_LIMIT)) {
      throw new PandoError(
        'CPIO_BAD_FIELD',
        `cpio entry ${JSON.stringify(entry.name)} has a time or device number that 32 bits do not hold`,
      );
    }
    for (const chunk of [header(fields, entry.name), content]) {
      if (chunk.length === 0) continue;
      yield chunk;
      written += chunk.length;
    }
    const tail = padding(4);
    if (tail.length > 0) yield tail;
    written += tail.length;
  }
  const trailer = header([0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], CPIO_TRAILER);
  yield trailer;
  written += trailer.length;
  const tail = padding(BLOCK_SIZE);
  if (tail.length > 0) yield tail;
}

/** The archive as one piece; throws as `cpioChunks` does. */
export function writeCpio(entries: Iterable<CpioInput>, options: CpioOptions = {}): Uint8Array {
  const chunks = [...cpioChunks(entries, options)];
  const archive = new Uint8Array(chunks.reduce((total, chunk) => total + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    archive.set(chunk, at);
    at += chunk.length;
  }
  return archive;
}
