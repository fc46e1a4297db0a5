import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { PandoError } from '../../error.js';
import { BytesSource } from '../../loader/byte-source.js';
import { type Directory, type Inode, walk } from '../file-tree.js';
import { anyTree, BlobBuilder, describeTree, directory, PLAIN } from '../testing/trees.js';
import { crc32c } from './crc32c.js';
import { ErofsReader } from './reader.js';
import { writeErofs } from './writer.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-erofs-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const tools = spawnSync('fsck.erofs', ['-V']).status === 0;
const needsTools = { skip: tools ? false : 'erofs-utils is not installed' };
const root = process.getuid?.() === 0;

/** The metadata and the data behind it. */
function image(tree: Directory, ...blobs: BlobBuilder[]): Buffer {
  const metadata = writeErofs(
    tree,
    blobs.map(({ blob }) => blob),
  );
  return Buffer.concat([metadata, ...blobs.map(({ bytes }) => bytes)]);
}

/** A tree's lines, its files read from the blobs that they are in. */
function linesOf(tree: Directory, ...blobs: BlobBuilder[]): string[] {
  const bytes = new Map(blobs.map((blob) => [blob.name, blob.bytes]));
  return describeTree(tree, ({ size, data }) =>
    size === 0
      ? new Uint8Array(0)
      : bytes.get(data.blob)!.subarray(data.offset, data.offset + size),
  );
}

function readBack(bytes: Uint8Array): string[] {
  const reader = new ErofsReader(new BytesSource(bytes));
  return describeTree(reader.tree(), (file) => reader.read(file));
}

/** One of everything. */
function sample(blob: BlobBuilder): Directory {
  const linked = blob.file('linked\n', { permissions: 0o4755, uid: 70_000, gid: 4_000_000_000 });
  const many = Object.fromEntries(
    Array.from({ length: 700 }, (_, index) => [`entry-${index}`, blob.file(`${index}`)]),
  );
  return directory({
    empty: blob.file(''),
    page: blob.file(new Uint8Array(4096).fill(7)),
    large: blob.file(Buffer.alloc(1_234_567, 'pando')),
    linked,
    many: directory({ ...many, linked }, { permissions: 0o1777, mtime: -5 }),
    deep: directory({ a: directory({ b: directory({ ü名: blob.file('x') }) }) }),
    short: { ...PLAIN, kind: 'symlink', target: 'many/entry-1' },
    long: { ...PLAIN, kind: 'symlink', target: 'x/'.repeat(2047) },
    null: { ...PLAIN, kind: 'character', major: 1, minor: 3 },
    disk: { ...PLAIN, kind: 'block', major: 259, minor: 70_000 },
    pipe: { ...PLAIN, kind: 'fifo' },
    socket: { ...PLAIN, kind: 'socket' },
    '-before-dot': blob.file('-', { mtimeNanoseconds: 123_456_789 }),
    attributed: blob.file('x', {
      xattrs: new Map([
        ['user.name', Buffer.from('value')],
        ['security.capability', Buffer.from('0100000200040000000000000000000000000000', 'hex')],
        ['trusted.large', new Uint8Array(5000).fill(1)],
        ['user.empty', new Uint8Array(0)],
      ]),
    }),
  });
}

describe('EROFS', () => {
  it('reads back what it has written', () => {
    const blob = new BlobBuilder();
    const tree = sample(blob);
    assert.deepEqual(readBack(image(tree, blob)), linesOf(tree, blob));
  });

  it('gives the same bytes for the same tree, in whatever order its entries came', () => {
    const blob = new BlobBuilder();
    const tree = sample(blob);
    const turned = { ...tree, entries: new Map([...tree.entries].reverse()) };
    assert.ok(Buffer.from(writeErofs(tree, [blob.blob])).equals(writeErofs(turned, [blob.blob])));
  });

  it('keeps any tree as it was', () => {
    fc.assert(
      fc.property(anyTree(), ({ root: tree, blob }) => {
        assert.deepEqual(readBack(image(tree, blob)), linesOf(tree, blob));
      }),
      { numRuns: 300 },
    );
  });

  it('has files of more than 4 GiB, and blobs in their order', () => {
    const huge: Inode = {
      ...PLAIN,
      kind: 'file',
      size: 5 * 2 ** 30,
      data: { blob: 'a', offset: 0 },
    };
    const behind: Inode = { ...PLAIN, kind: 'file', size: 1, data: { blob: 'b', offset: 8192 } };
    const metadata = writeErofs(directory({ huge, behind }), [
      { name: 'a', size: 5 * 2 ** 30 },
      { name: 'b', size: 12288 },
    ]);
    const size = metadata.length + 5 * 2 ** 30 + 12288;
    const source = {
      size,
      read: (offset: number, length: number) =>
        offset + length <= metadata.length
          ? metadata.subarray(offset, offset + length)
          : new Uint8Array(length),
    };
    const { entries } = new ErofsReader(source).tree();
    const found = ['huge', 'behind'].map(
      (name) => entries.get(name) as typeof huge & typeof behind,
    );
    assert.deepEqual(
      found.map((file) => [file.size, file.data.offset - metadata.length]),
      [
        [5 * 2 ** 30, 0],
        [1, 5 * 2 ** 30 + 8192],
      ],
    );
  });

  it('refuses what the format cannot hold', () => {
    const refused = (tree: Directory, code: string) =>
      assert.throws(() => writeErofs(tree, []), { name: 'PandoError', code });
    const file = new BlobBuilder().file('');
    const inner = directory({});
    refused(directory({ 'a/b': file }), 'EROFS_BAD_NAME');
    refused(directory({ '..': file }), 'EROFS_BAD_NAME');
    refused(directory({ ['n'.repeat(256)]: file }), 'EROFS_BAD_NAME');
    refused(directory({ a: inner, b: inner }), 'EROFS_DIRECTORY_LINK');
    refused(directory({ a: { ...PLAIN, kind: 'symlink', target: '' } }), 'EROFS_BAD_TARGET');
    refused(directory({ a: new BlobBuilder().file('x') }), 'EROFS_DATA_MISSING');
    const xattr = (name: string, size: number) =>
      directory({}, { xattrs: new Map([[name, new Uint8Array(size)]]) });
    refused(xattr('system.other', 1), 'EROFS_XATTR_UNSUPPORTED');
    refused(xattr('user.', 1), 'EROFS_XATTR_UNSUPPORTED');
    refused(xattr('user.a', 65536), 'EROFS_XATTR_TOO_LARGE');
  });

  it('has the CRC-32C of RFC 3720', () => {
    const check = (bytes: Uint8Array) => ~crc32c(0xffffffff, bytes) >>> 0;
    assert.equal(check(new Uint8Array(32)), 0x8a9136aa);
    assert.equal(check(Uint8Array.from({ length: 32 }, (_, index) => index)), 0x46dd794e);
  });

  it('is what fsck.erofs takes for sound, and extracts to the same files', needsTools, () => {
    const blob = new BlobBuilder();
    const tree = sample(blob);
    const file = join(folder, 'image');
    writeFileSync(file, image(tree, blob));
    const target = join(folder, 'extracted');
    const { status, stdout, stderr } = spawnSync(
      'fsck.erofs',
      ['-d3', `--extract=${target}`, file],
      {
        encoding: 'utf8',
      },
    );
    assert.equal(status, 0, stdout + stderr);
    assert.equal(
      readFileSync(join(target, 'large')).equals(Buffer.alloc(1_234_567, 'pando')),
      true,
    );
    assert.equal(readFileSync(join(target, 'many/entry-699'), 'utf8'), '699');
    assert.equal(readlinkSync(join(target, 'long')), 'x/'.repeat(2047));
    assert.equal(readFileSync(join(target, 'deep/a/b/ü名'), 'utf8'), 'x');
    if (!root) return;
    // The extractor sets the mode before the owner, and so loses the set-user-ID bit.
    const linked = lstatSync(join(target, 'linked'));
    assert.deepEqual([linked.mode & 0o777, linked.uid, linked.gid], [0o755, 70_000, 4_000_000_000]);
    const dumped = spawnSync('dump.erofs', ['--path=/linked', file], { encoding: 'utf8' }).stdout;
    assert.match(dumped, /Links: 2 {3}Layout: 0/);
    const device = spawnSync('stat', ['-c', '%F %t %T', join(target, 'disk')], {
      encoding: 'utf8',
    });
    assert.equal(device.stdout, 'block special file 103 11170\n');
  });

  it('makes sound images of any tree', needsTools, () => {
    const file = join(folder, 'any');
    fc.assert(
      fc.property(anyTree(), ({ root: tree, blob }) => {
        writeFileSync(file, image(tree, blob));
        const { status, stdout, stderr } = spawnSync('fsck.erofs', ['--extract', file]);
        assert.equal(status, 0, `${stdout}${stderr}`);
      }),
      { numRuns: 40 },
    );
  });

  it('reads an image of mkfs.erofs', needsTools, () => {
    const from = join(folder, 'from');
    mkdirSync(join(from, 'folder'), { recursive: true });
    writeFileSync(join(from, 'folder/small'), 'small\n');
    writeFileSync(join(from, 'pages'), Buffer.alloc(8192, 'p'));
    const file = join(folder, 'made');
    const made = spawnSync('mkfs.erofs', ['-T1600000000', '-x-1', file, from]);
    assert.equal(made.status, 0, String(made.stderr));
    const reader = new ErofsReader(new BytesSource(readFileSync(file)));
    const contents = [...walk(reader.tree())].map(([path, inode]) => [
      path,
      inode.kind === 'file' ? Buffer.from(reader.read(inode)).toString() : inode.kind,
    ]);
    assert.deepEqual(contents, [
      ['folder', 'directory'],
      ['folder/small', 'small\n'],
      ['pages', 'p'.repeat(8192)],
    ]);
  });

  it('answers ten thousand damaged images with one error or a tree', () => {
    const blob = new BlobBuilder();
    const bytes = image(sample(blob), blob).subarray(0, 1 << 17);
    // Without the checksum, so that damage to the first block is looked at, too.
    bytes[1024 + 8] = 2;
    const change = fc.tuple(fc.nat(bytes.length - 1), fc.nat(255));
    fc.assert(
      fc.property(
        fc.array(change, { minLength: 1, maxLength: 8 }),
        fc.array(fc.tuple(fc.integer({ min: 1024, max: 6000 }), fc.nat(255)), { maxLength: 4 }),
        fc.integer({ min: 0, max: bytes.length }),
        fc.boolean(),
        (changes, early, length, cut) => {
          const damaged = Buffer.from(cut ? bytes.subarray(0, length) : bytes);
          for (const [at, value] of [...changes, ...early]) {
            if (at < damaged.length) damaged[at] = value;
          }
          try {
            new ErofsReader(new BytesSource(damaged)).tree();
          } catch (cause) {
            if (!(cause instanceof PandoError)) throw cause;
            assert.match(cause.code, /^EROFS_(MALFORMED|UNSUPPORTED)$/);
          }
        },
      ),
      { numRuns: 10_000 },
    );
  });
});
