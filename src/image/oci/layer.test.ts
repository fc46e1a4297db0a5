import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { PandoError } from '../../error.js';
import { ImageStore } from '../store.js';
import { TarReader } from '../tar.js';
import { type TarMember, tarArchive } from '../testing/tar-builder.js';
import { LAYER_LIMITS, storeLayer } from './layer.js';
import { parseLayerIndex } from './layer-entry.js';
import { unpackLayer } from './unpack.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-layer-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const store = new ImageStore(folder);

async function* pieces(bytes: Uint8Array, length = 1000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
}

async function entriesOf(members: readonly TarMember[]) {
  const layer = await storeLayer(pieces(tarArchive(members)), store);
  return parseLayerIndex(readFileSync(store.objectPath(layer.index), 'utf8'));
}

describe('a layer in the store', () => {
  it('has its files page by page and its entries beside them', async () => {
    const archive = tarArchive([
      { name: 'a', content: 'first' },
      { name: 'empty', content: '' },
      { name: 'b', content: Buffer.alloc(5000, 'b'), pax: { 'SCHILY.xattr.user.k': 'v\0\n' } },
      { name: 'link', type: '1', linkName: 'a' },
    ]);
    const layer = await storeLayer(pieces(archive), store);
    assert.equal(layer.diffId, `sha256:${createHash('sha256').update(archive).digest('hex')}`);
    const entries = parseLayerIndex(readFileSync(store.objectPath(layer.index), 'utf8'));
    assert.deepEqual(
      entries.map(({ name, kind, size, dataOffset }) => [name, kind, size, dataOffset]),
      [
        ['a', 'file', 5, 0],
        ['empty', 'file', 0, 0],
        ['b', 'file', 5000, 4096],
        ['link', 'link', 0, 0],
      ],
    );
    assert.equal(Buffer.from(entries[2]!.xattrs.get('user.k')!).toString(), 'v\0\n');
    const data = readFileSync(store.objectPath(layer.data!));
    assert.equal(data.length, 3 * 4096);
    assert.equal(data.subarray(0, 4096).toString(), 'first'.padEnd(4096, '\0'));
    assert.equal(data.subarray(4096, 9096).toString(), 'b'.repeat(5000));
  });

  it('leaves out attributes that the image cannot hold or the overlay would act on', async () => {
    const names = ['user.a', 'trusted.overlay.opaque', 'system.nfs4_acl', 'trusted.b', 'lustre.x'];
    const pax = Object.fromEntries(names.map((name) => [`SCHILY.xattr.${name}`, 'x']));
    const [entry] = await entriesOf([{ name: 'f', pax }]);
    assert.deepEqual([...entry!.xattrs.keys()], ['user.a', 'trusted.b']);
  });

  it('refuses what no file system holds', async () => {
    const refused = async (member: TarMember, code = 'LAYER_ENTRY_INVALID') =>
      assert.rejects(storeLayer(pieces(tarArchive([member])), store), { code });
    await refused({ name: 'x', pax: { path: `${'d/'.repeat(2100)}x` } });
    await refused({ name: 'x', pax: { path: 'a\0b' } });
    await refused({ name: 'x', pax: { uid: '4294967296' } });
    await refused({ name: 'x', type: '3', major: 4096 });
    await refused({ name: 'x', type: 'S' }, 'TAR_UNSUPPORTED');
    await refused({ name: 'x', pax: { 'GNU.sparse.major': '1' } }, 'TAR_UNSUPPORTED');
    await refused({ name: 'x', pax: { mtime: 'soon' } }, 'TAR_MALFORMED');
  });

  it('bounds entries and bytes, and leaves nothing behind when it fails', async () => {
    const own = new ImageStore(join(folder, 'bounded'));
    const bomb = gzipSync(tarArchive([{ name: 'zeros', content: Buffer.alloc(50 << 20) }]));
    assert.ok(bomb.length < 1 << 17);
    await assert.rejects(
      storeLayer(unpackLayer(pieces(bomb)), own, { ...LAYER_LIMITS, bytes: 1 << 20 }),
      { code: 'LAYER_TOO_LARGE' },
    );
    const many = tarArchive(Array.from({ length: 11 }, (_, index) => ({ name: `${index}` })));
    await assert.rejects(storeLayer(pieces(many), own, { ...LAYER_LIMITS, entries: 10 }), {
      code: 'LAYER_TOO_LARGE',
    });
    await assert.rejects(storeLayer(unpackLayer(pieces(bomb.subarray(0, 1000))), own), {
      code: 'LAYER_COMPRESSION_DAMAGED',
    });
    for (const name of ['objects', 'temporary']) {
      assert.deepEqual(readdirSync(join(own.folder, name)), []);
    }
  });

  it('reads pax and GNU headers: global ones, long names, times before 1970', async () => {
    const entries = await entriesOf([
      { name: 'g', type: 'g', content: '13 gid=12345\n' },
      { name: '././@LongLink', type: 'L', content: `${'n'.repeat(150)}\0` },
      { name: 'cut' },
      { name: '././@LongLink', type: 'K', content: `${'t'.repeat(150)}\0` },
      { name: 'target', type: '2', linkName: 'cut' },
      { name: 'old', pax: { mtime: '-1.25', gid: '' } },
    ]);
    assert.deepEqual(
      entries.map(({ name, linkName, gid, mtime, mtimeNanoseconds }) => [
        ...[name.length, linkName.length, gid, mtime, mtimeNanoseconds],
      ]),
      [
        [150, 0, 12345, 1_600_000_000, 0],
        [6, 150, 12345, 1_600_000_000, 0],
        [3, 0, 0, -2, 750_000_000],
      ],
    );
  });
});

describe('compression of a layer', () => {
  const archive = Buffer.from(tarArchive([{ name: 'f', content: 'content' }]));
  const unpacked = async (bytes: Uint8Array, length?: number) => {
    const all: Uint8Array[] = [];
    for await (const piece of unpackLayer(pieces(bytes, length))) all.push(piece);
    return Buffer.concat(all);
  };

  it('is told by the first bytes, however they come', async () => {
    const zstd = spawnSync('zstd', ['-c'], { input: archive }).stdout;
    for (const length of [1, 7, 100_000]) {
      assert.ok((await unpacked(gzipSync(archive), length)).equals(archive));
      assert.ok((await unpacked(archive, length)).equals(archive));
    }
    if (zstd !== null) assert.ok((await unpacked(zstd, 7)).equals(archive));
    await assert.rejects(unpacked(Buffer.from('BZh91AY&SY')), {
      code: 'LAYER_COMPRESSION_UNKNOWN',
    });
    assert.equal((await unpacked(Buffer.alloc(0))).length, 0);
  });

  it('passes on what the source throws', async () => {
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield gzipSync(archive).subarray(0, 40);
      throw new PandoError('SOURCE_FAILED', 'the source fails');
    }
    const read = async () => {
      for await (const _ of unpackLayer(failing()));
    };
    await assert.rejects(read, { code: 'SOURCE_FAILED' });
  });
});

describe('ten thousand damaged archives', () => {
  it('give one error or an end', async () => {
    const archive = tarArchive([
      { name: 'dir/', type: '5' },
      { name: 'dir/a', content: 'a'.repeat(700), pax: { path: 'dir/long', mtime: '1.5' } },
      { name: 'l', type: '2', linkName: 'dir/a' },
      { name: '././@LongLink', type: 'L', content: 'n\0' },
      { name: 'n', content: 'x' },
    ]);
    const change = fc.tuple(fc.nat(archive.length - 1), fc.nat(255));
    const fix = (bytes: Buffer) => {
      for (let at = 0; at + 512 <= bytes.length; at += 512) {
        if (bytes.toString('latin1', at + 257, at + 262) !== 'ustar') continue;
        bytes.fill(0x20, at + 148, at + 156);
        const sum = bytes.subarray(at, at + 512).reduce((total, byte) => total + byte, 0);
        bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, at + 148, 'latin1');
      }
    };
    await fc.assert(
      fc.asyncProperty(
        fc.array(change, { minLength: 1, maxLength: 6 }),
        fc.nat(archive.length),
        fc.boolean(),
        async (changes, length, cut) => {
          const damaged = Buffer.from(cut ? archive.subarray(0, length) : archive);
          for (const [at, value] of changes) if (at < damaged.length) damaged[at] = value;
          // Right sums, so that what they guard is looked at.
          fix(damaged);
          const reader = new TarReader(pieces(damaged, 4096));
          try {
            while ((await reader.next()) !== undefined);
          } catch (cause) {
            if (!(cause instanceof PandoError)) throw cause;
            assert.match(cause.code, /^TAR_(MALFORMED|UNSUPPORTED)$/);
          }
        },
      ),
      { numRuns: 10_000 },
    );
  });
});
