/**
 * Reads tar archives as streams, entry by entry: the ustar, pax and GNU formats (tar-header.ts).
 * Sparse files and multi-volume archives are refused. Nothing is written to the file system.
 */
import { PandoError } from '../error.js';
import { displayName } from './file-tree.js';
import {
  parsePaxRecords,
  parseTarHeader,
  readExtensions,
  TAR_BLOCK,
  type TarHeader,
  tarMalformed,
} from './tar-header.js';

/** Bytes that one extended header may have, long names and attributes included. */
const EXTENSION_LIMIT = 1 << 20;

const KINDS: Readonly<Record<string, TarEntry['kind']>> = {
  '0': 'file',
  '\0': 'file',
  '7': 'file',
  '1': 'link',
  '2': 'symlink',
  '3': 'character',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
};

/** One member of an archive; names are byte strings. */
export interface TarEntry {
  readonly kind: 'file' | 'link' | 'symlink' | 'character' | 'block' | 'directory' | 'fifo';
  /** As the archive has it, without a trailing slash. */
  readonly name: string;
  /** Target of a symbolic link, or the member that a hard link names. */
  readonly linkName: string;
  readonly permissions: number;
  readonly uid: number;
  readonly gid: number;
  /** Whole seconds since 1970, rounded down. */
  readonly mtime: number;
  readonly mtimeNanoseconds: number;
  /** Bytes of content that follow; 0 for all but files. */
  readonly size: number;
  readonly major: number;
  readonly minor: number;
  readonly xattrs: ReadonlyMap<string, Uint8Array>;
  /** Offset of the content in the archive. */
  readonly offset: number;
}

/** Takes bytes out of a stream in the lengths that are asked for. */
class StreamBytes {
  /** Offset in the stream of the next byte. */
  at = 0;
  private piece: Uint8Array = new Uint8Array(0);
  private readonly iterator: AsyncIterator<Uint8Array>;

  constructor(stream: AsyncIterable<Uint8Array>) {
    this.iterator = stream[Symbol.asyncIterator]();
  }

  /** Up to `most` bytes, at least one; undefined at the end. */
  async some(most: number): Promise<Uint8Array | undefined> {
    while (this.piece.length === 0) {
      const { done, value } = await this.iterator.next();
      if (done === true) return undefined;
      this.piece = value;
    }
    const taken = this.piece.subarray(0, most);
    this.piece = this.piece.subarray(taken.length);
    this.at += taken.length;
    return taken;
  }

  /** Tells the stream's owner that no more is wanted. */
  async stop(): Promise<void> {
    await this.iterator.return?.();
  }
}

/** An archive that is being read from its beginning to its end. */
export class TarReader {
  private readonly bytes: StreamBytes;
  /** Bytes of the current entry's content and padding that are still to come. */
  private content = 0;
  private padding = 0;
  private global: ReadonlyMap<string, Uint8Array> = new Map();
  private current = '';

  constructor(stream: AsyncIterable<Uint8Array>) {
    this.bytes = new StreamBytes(stream);
  }

  /** Exactly `length` bytes. */
  private async exact(length: number, what: string): Promise<Uint8Array> {
    const joined = new Uint8Array(length);
    for (let filled = 0; filled < length; ) {
      const piece = await this.bytes.some(length - filled);
      if (piece === undefined) throw tarMalformed(this.bytes.at, what);
      if (piece.length === length) return piece;
      joined.set(piece, filled);
      filled += piece.length;
    }
    return joined;
  }

  private async skip(length: number): Promise<void> {
    for (let left = length; left > 0; ) {
      const piece = await this.bytes.some(left);
      if (piece === undefined) throw tarMalformed(this.bytes.at, `${this.current} is truncated`);
      left -= piece.length;
    }
  }

  /** Content of a header that extends the next entry. */
  private async extension({ size, type }: TarHeader): Promise<Uint8Array> {
    if (size > EXTENSION_LIMIT) {
      throw tarMalformed(this.bytes.at, `an extended header ${type} of ${size} bytes`);
    }
    const bytes = (await this.exact(size, 'an extended header is truncated')).slice();
    await this.skip(-size & (TAR_BLOCK - 1));
    return bytes;
  }

  /**
   * The next entry; what is left of the last one's content is passed over.
   * @returns undefined at the end of the archive
   * @throws PandoError TAR_MALFORMED, TAR_UNSUPPORTED
   */
  async next(): Promise<TarEntry | undefined> {
    await this.skip(this.content + this.padding);
    this.content = 0;
    this.padding = 0;
    const records = new Map(this.global);
    const longName = (bytes: Uint8Array) =>
      bytes.subarray(0, (bytes.indexOf(0) + 1 || Infinity) - 1);
    for (;;) {
      const at = this.bytes.at;
      const header = parseTarHeader(await this.exact(TAR_BLOCK, 'no end block'), at);
      if (header === undefined) return undefined;
      switch (header.type) {
        case 'x':
          for (const [keyword, value] of parsePaxRecords(await this.extension(header), at)) {
            records.set(keyword, value);
          }
          break;
        case 'g':
          this.global = new Map([
            ...this.global,
            ...parsePaxRecords(await this.extension(header), at),
          ]);
          for (const [keyword, value] of this.global) records.set(keyword, value);
          break;
        case 'L':
          records.set('path', longName(await this.extension(header)));
          break;
        case 'K':
          records.set('linkpath', longName(await this.extension(header)));
          break;
        case 'V':
          await this.extension(header);
          break;
        default:
          return this.entry(header, records, at);
      }
    }
  }

  private entry(header: TarHeader, records: ReadonlyMap<string, Uint8Array>, at: number): TarEntry {
    const kind = KINDS[header.type];
    if (kind === undefined) {
      const type = JSON.stringify(header.type);
      throw new PandoError(
        'TAR_UNSUPPORTED',
        `tar archive: entry of type ${type} at offset ${at}`,
        {
          remedy: 'make the archive without sparse files and without volumes',
        },
      );
    }
    const extensions = readExtensions(records, at);
    const { mtime, name = header.name } = extensions;
    // Before ustar a directory was a file whose name ends in a slash.
    const folder = kind === 'directory' || (kind === 'file' && name.endsWith('/'));
    const size = kind === 'file' && !folder ? (extensions.size ?? header.size) : 0;
    this.content = size;
    this.padding = -size & (TAR_BLOCK - 1);
    this.current = displayName(name);
    return {
      kind: folder ? 'directory' : kind,
      name: name.replace(/\/+$/, ''),
      linkName: extensions.linkName ?? header.linkName,
      permissions: header.mode & 0o7777,
      uid: extensions.uid ?? header.uid,
      gid: extensions.gid ?? header.gid,
      mtime: mtime?.seconds ?? header.mtime,
      mtimeNanoseconds: mtime?.nanoseconds ?? 0,
      size,
      major: header.major,
      minor: header.minor,
      xattrs: extensions.xattrs,
      offset: this.bytes.at,
    };
  }

  /**
   * The current entry's content, in pieces.
   * @throws PandoError TAR_MALFORMED when the archive ends before it does
   */
  async *contents(): AsyncGenerator<Uint8Array> {
    while (this.content > 0) {
      const piece = await this.bytes.some(this.content);
      if (piece === undefined) throw tarMalformed(this.bytes.at, `${this.current} is truncated`);
      this.content -= piece.length;
      yield piece;
    }
  }

  /** Reads the stream to its end: what follows the archive counts for a digest. */
  async drain(): Promise<void> {
    while ((await this.bytes.some(Infinity)) !== undefined);
  }

  /** Leaves the rest of the stream unread. */
  stop(): Promise<void> {
    return this.bytes.stop();
  }
}

/** A regular file of an archive. */
export interface TarFile {
  /** Path without a leading "./". */
  readonly path: string;
  readonly bytes: Uint8Array;
}

/**
 * Reads the first regular file that `wanted` accepts; the rest of the stream is not read.
 * @param wanted told the path without a leading "./"
 * @param limit most bytes that file may have
 * @returns undefined when the archive ends without it
 * @throws PandoError TAR_MALFORMED, TAR_UNSUPPORTED, TAR_FILE_TOO_LARGE
 */
export async function readTarFile(
  stream: AsyncIterable<Uint8Array>,
  wanted: (path: string) => boolean,
  limit: number,
): Promise<TarFile | undefined> {
  for await (const file of readTarFiles(stream, wanted, limit)) return file;
  return undefined;
}

/**
 * Reads the regular files that `wanted` accepts, in the archive's order, until the archive ends or the
 * caller stops.
 * @param limit most bytes that each may have
 * @throws PandoError TAR_MALFORMED, TAR_UNSUPPORTED, TAR_FILE_TOO_LARGE
 */
export async function* readTarFiles(
  stream: AsyncIterable<Uint8Array>,
  wanted: (path: string) => boolean,
  limit: number,
): AsyncGenerator<TarFile> {
  const reader = new TarReader(stream);
  try {
    for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
      const path = displayName(entry.name).replace(/^(\.\/)+/, '');
      if (entry.kind !== 'file' || !wanted(path)) continue;
      if (entry.size > limit) {
        throw new PandoError(
          'TAR_FILE_TOO_LARGE',
          `tar archive: ${path} has ${entry.size} bytes, the limit is ${limit}`,
        );
      }
      const bytes = new Uint8Array(entry.size);
      let filled = 0;
      for await (const piece of reader.contents()) {
        bytes.set(piece, filled);
        filled += piece.length;
      }
      yield { path, bytes };
    }
    // Whoever writes the stream would take an early end for a broken pipe.
    await reader.drain();
  } finally {
    await reader.stop();
  }
}
