/** Trees for tests: built by hand, made at random, and put beside each other. */
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import type { DataBlob } from '../erofs/writer.js';
import { byteString, type Directory, type Inode, walk } from '../file-tree.js';

const BLOCK = 4096;

/** Attributes that tests seldom care about. */
export const PLAIN = {
  permissions: 0o755,
  uid: 0,
  gid: 0,
  mtime: 1_600_000_000,
  mtimeNanoseconds: 0,
  xattrs: new Map<string, Uint8Array>(),
};

/** A data blob that grows file by file. */
export class BlobBuilder {
  private readonly pieces: Uint8Array[] = [];
  private size = 0;

  constructor(readonly name = 'blob') {}

  /** A file with this content; it is appended to the blob. */
  file(content: string | Uint8Array, attributes: Partial<typeof PLAIN> = {}): Inode {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content;
    const offset = this.size;
    const padded = new Uint8Array(Math.ceil(bytes.length / BLOCK) * BLOCK);
    padded.set(bytes);
    this.pieces.push(padded);
    this.size += padded.length;
    const data = bytes.length === 0 ? { blob: '', offset: 0 } : { blob: this.name, offset };
    return { ...PLAIN, permissions: 0o644, ...attributes, kind: 'file', size: bytes.length, data };
  }

  get blob(): DataBlob {
    return { name: this.name, size: this.size };
  }

  get bytes(): Uint8Array {
    return Buffer.concat(this.pieces);
  }
}

/** A directory of these entries; names are texts. */
export function directory(
  entries: Readonly<Record<string, Inode>>,
  attributes: Partial<typeof PLAIN> = {},
): Directory {
  const named = Object.entries(entries).map(([name, inode]) => [byteString(name), inode] as const);
  return { ...PLAIN, ...attributes, kind: 'directory', entries: new Map(named) };
}

/**
 * A tree as a list of lines: path, everything an inode has, which other path it is a link of.
 * @param read a file's bytes
 */
export function describeTree(
  root: Directory,
  read: (file: Extract<Inode, { kind: 'file' }>) => Uint8Array,
): string[] {
  const first = new Map<Inode, string>();
  const line = (path: string, inode: Inode): string => {
    const { kind, permissions, uid, gid, mtime, mtimeNanoseconds, xattrs } = inode;
    const known = first.get(inode);
    if (known !== undefined) return `${path} = ${known}`;
    first.set(inode, path);
    const attributes = [...xattrs]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, value]) => `${name}=${Buffer.from(value).toString('hex')}`);
    const own =
      inode.kind === 'file'
        ? [inode.size, createHash('sha256').update(read(inode)).digest('hex')]
        : inode.kind === 'symlink'
          ? [inode.target]
          : inode.kind === 'character' || inode.kind === 'block'
            ? [inode.major, inode.minor]
            : [];
    const all = [permissions.toString(8), uid, gid, mtime, mtimeNanoseconds, ...attributes, ...own];
    return `${path} ${kind} ${all.join(' ')}`;
  };
  return [line('/', root), ...[...walk(root)].map(([path, inode]) => line(path, inode))];
}

const attributes = fc.record({
  permissions: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.nat(0xffffffff),
  gid: fc.nat(0xffffffff),
  mtime: fc.integer({ min: -1_000_000, max: 2 ** 40 }),
  mtimeNanoseconds: fc.nat(999_999_999),
  xattrs: fc
    .dictionary(
      fc.constantFrom('user.a', 'user.bb', 'trusted.x', 'security.capability', 'user.é'),
      fc.uint8Array({ maxLength: 300 }),
      { maxKeys: 3 },
    )
    .map((record) => new Map(Object.entries(record))),
});

/** Any name of Linux, as a byte string. */
const name = fc
  .uint8Array({ minLength: 1, maxLength: 255 })
  .map((bytes) => Buffer.from(bytes).toString('latin1').replace(/[\0/]/g, '_'))
  .filter((text) => text !== '.' && text !== '..');

const leaf = (blob: () => BlobBuilder) =>
  fc.oneof(
    fc.tuple(attributes, fc.uint8Array({ maxLength: 9000 })).map(([own, content]) => {
      return (): Inode => blob().file(content, own);
    }),
    fc.tuple(attributes, name).map(([own, target]) => {
      return (): Inode => ({ ...own, kind: 'symlink', target });
    }),
    fc.tuple(attributes, fc.nat(4095), fc.nat(0xfffff)).map(([own, major, minor]) => {
      return (): Inode => ({ ...own, kind: 'block', major, minor });
    }),
    fc.tuple(attributes, fc.constantFrom('fifo' as const, 'socket' as const)).map(([own, kind]) => {
      return (): Inode => ({ ...own, kind });
    }),
  );

/** Trees of up to some hundred inodes with the blob that their files are in. */
export function anyTree(): fc.Arbitrary<{ root: Directory; blob: BlobBuilder }> {
  let current = new BlobBuilder();
  const { tree } = fc.letrec<{ tree: () => Inode; node: () => Inode }>((tie) => ({
    node: fc.oneof(
      { depthSize: 'small' },
      leaf(() => current),
      tie('tree'),
    ),
    tree: fc
      .tuple(attributes, fc.array(fc.tuple(name, tie('node')), { maxLength: 20 }))
      .map(([own, children]) => {
        return (): Inode => ({
          ...own,
          kind: 'directory',
          entries: new Map(children.map(([called, make]) => [called, make()])),
        });
      }),
  }));
  return fc.tuple(tree, fc.boolean()).map(([make, link]) => {
    current = new BlobBuilder();
    const root = make() as Directory;
    const file = [...walk(root)].find(([, inode]) => inode.kind !== 'directory')?.[1];
    if (link && file !== undefined) root.entries.set('second name', file);
    return { root, blob: current };
  });
}
