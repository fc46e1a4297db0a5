/**
 * The files of an image on this host: a folder, or the members of a tar archive of one, which is read
 * through once to know where they are.
 */
import { createReadStream, statSync } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { PandoError, reasonOf } from '../../error.js';
import { displayName } from '../file-tree.js';
import { TarReader } from '../tar.js';
import { DOCUMENT_LIMIT } from './documents.js';

const PIECE = 1 << 20;
/** Members of an archive; more than any image has layers and documents. */
const MEMBER_LIMIT = 100_000;

/** Files by their path in the image. */
export interface ImageFiles {
  /** What the user called the folder or archive. */
  readonly path: string;
  has(name: string): boolean;
  /** @throws PandoError FILE_UNREADABLE, DOCUMENT_TOO_LARGE */
  read(name: string): Promise<Uint8Array>;
  stream(name: string): AsyncIterable<Uint8Array>;
  /** Bytes. */
  size(name: string): number;
}

function unreadable(path: string, name: string, why: string): PandoError {
  return new PandoError('FILE_UNREADABLE', `image ${path}: ${name}: ${why}`, {
    remedy: 'name a folder of the OCI layout, or an archive of `docker save`, that you may read',
  });
}

function checkDocumentSize(path: string, name: string, size: number): void {
  if (size <= DOCUMENT_LIMIT) return;
  throw new PandoError(
    'DOCUMENT_TOO_LARGE',
    `image ${path}: ${name} has ${size} bytes, the limit is ${DOCUMENT_LIMIT}`,
  );
}

/** A folder. Names that would lead out of it are as good as absent. */
export class FolderFiles implements ImageFiles {
  constructor(readonly path: string) {}

  private locate(name: string): string {
    const plain = posix.normalize(name);
    if (posix.isAbsolute(plain) || plain.startsWith('..')) {
      throw unreadable(this.path, name, 'a path that leaves the folder');
    }
    return join(this.path, plain);
  }

  has(name: string): boolean {
    return statSync(this.locate(name), { throwIfNoEntry: false })?.isFile() === true;
  }

  size(name: string): number {
    if (!this.has(name)) throw unreadable(this.path, name, 'no such file');
    return statSync(this.locate(name)).size;
  }

  async read(name: string): Promise<Uint8Array> {
    checkDocumentSize(this.path, name, this.size(name));
    try {
      return await readFile(this.locate(name));
    } catch (cause) {
      throw unreadable(this.path, name, reasonOf(cause));
    }
  }

  async *stream(name: string): AsyncGenerator<Uint8Array> {
    this.size(name);
    for await (const piece of createReadStream(this.locate(name), { highWaterMark: PIECE })) {
      yield piece as Uint8Array;
    }
  }
}

interface Member {
  readonly offset: number;
  readonly size: number;
  /** The member that this one is a link to. */
  readonly target?: string;
}

/** A tar archive that is not compressed. */
export class ArchiveFiles implements ImageFiles {
  private constructor(
    readonly path: string,
    private readonly members: ReadonlyMap<string, Member>,
  ) {}

  /** @throws PandoError FILE_UNREADABLE, TAR_MALFORMED, TAR_UNSUPPORTED */
  static async open(path: string): Promise<ArchiveFiles> {
    await (
      await open(path).catch((cause) => {
        throw unreadable(path, 'the archive', reasonOf(cause));
      })
    ).close();
    const members = new Map<string, Member>();
    const reader = new TarReader(createReadStream(path, { highWaterMark: PIECE }));
    try {
      for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
        const name = posix.normalize(displayName(entry.name));
        const link = displayName(entry.linkName);
        const { offset, size } = entry;
        if (entry.kind === 'file') members.set(name, { offset, size });
        // docker save names a layer that occurs twice by a relative link.
        if (entry.kind === 'symlink') {
          members.set(name, { offset, size, target: posix.join(posix.dirname(name), link) });
        }
        if (entry.kind === 'link')
          members.set(name, { offset, size, target: posix.normalize(link) });
        if (members.size > MEMBER_LIMIT) {
          throw unreadable(path, 'the archive', `more than ${MEMBER_LIMIT} members`);
        }
      }
    } finally {
      await reader.stop();
    }
    return new ArchiveFiles(path, members);
  }

  private member(name: string): Member | undefined {
    const found = this.members.get(posix.normalize(name));
    return found?.target === undefined ? found : this.members.get(found.target);
  }

  has(name: string): boolean {
    return this.member(name) !== undefined;
  }

  private located(name: string): Member {
    const found = this.member(name);
    if (found === undefined || found.target !== undefined) {
      throw unreadable(this.path, name, 'no such member');
    }
    return found;
  }

  size(name: string): number {
    return this.located(name).size;
  }

  async read(name: string): Promise<Uint8Array> {
    checkDocumentSize(this.path, name, this.size(name));
    const pieces: Uint8Array[] = [];
    for await (const piece of this.stream(name)) pieces.push(piece);
    return Buffer.concat(pieces);
  }

  async *stream(name: string): AsyncGenerator<Uint8Array> {
    const { offset, size } = this.located(name);
    if (size === 0) return;
    const range = { start: offset, end: offset + size - 1, highWaterMark: PIECE };
    for await (const piece of createReadStream(this.path, range)) yield piece as Uint8Array;
  }
}
