import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { PandoError } from '../../error.js';
import { BytesSource } from '../../loader/byte-source.js';
import { ErofsReader } from '../erofs/reader.js';
import { writeErofs } from '../erofs/writer.js';
import { type Directory, type Inode, walk } from '../file-tree.js';
import type { LayerEntry } from './layer-entry.js';
import { LayeredTree } from './merge.js';

const BASE = {
  ...{ linkName: '', permissions: 0o644, uid: 0, gid: 0, mtime: 0, mtimeNanoseconds: 0 },
  ...{ size: 0, major: 0, minor: 0, xattrs: new Map<string, Uint8Array>(), dataOffset: 0 },
};
const file = (name: string, uid = 0): LayerEntry => ({ ...BASE, kind: 'file', name, uid });
const folder = (name: string): LayerEntry => ({ ...BASE, kind: 'directory', name });
const symlink = (name: string, linkName: string): LayerEntry => ({
  ...{ ...BASE, kind: 'symlink', name, linkName },
});
const link = (name: string, linkName: string): LayerEntry => ({
  ...{ ...BASE, kind: 'link', name, linkName },
});

function tree(...layers: LayerEntry[][]): Directory {
  const layered = new LayeredTree();
  for (const entries of layers) layered.apply(entries, 'blob');
  return layered.root;
}

/** Paths in order; files with their owner, which tells which layer's they are. */
function paths(root: Directory): string[] {
  return [...walk(root)].map(([path, inode]) => {
    if (inode.kind === 'directory') return `${path}/`;
    return inode.kind === 'symlink' ? `${path} -> ${inode.target}` : `${path} ${inode.uid}`;
  });
}

describe('layers over one another', () => {
  it('hides a name, and all of a directory', () => {
    const lower = [file('a'), folder('d'), file('d/x'), file('d/y')];
    assert.deepEqual(paths(tree(lower, [file('.wh.a'), file('d/.wh.x')])), ['d/', 'd/y 0']);
    assert.deepEqual(paths(tree(lower, [file('.wh.d')])), ['a 0']);
    const opaque = [folder('d'), file('d/.wh..wh..opq'), file('d/z', 1)];
    assert.deepEqual(paths(tree(lower, opaque)), ['a 0', 'd/', 'd/z 1']);
  });

  it('hides nothing that its own layer brings, in whatever order', () => {
    const lower = [folder('d'), file('d/x'), folder('d/e'), file('d/e/low')];
    const own = [file('d/x', 1), file('d/e/high', 1)];
    const wanted = ['d/', 'd/e/', 'd/e/high 1', 'd/x 1'];
    for (const mark of ['d/.wh..wh..opq', '.wh.d']) {
      assert.deepEqual(paths(tree(lower, [file(mark), ...own])), wanted);
      assert.deepEqual(paths(tree(lower, [...own, file(mark)])), wanted);
    }
  });

  it('passes over marks of nothing and files of aufs', () => {
    const marks = ['.wh.none', 'no/.wh.such', '.wh..wh.plnk', '.wh..wh.aufs', '.wh.'];
    assert.deepEqual(
      paths(
        tree(
          [file('a')],
          marks.map((name) => file(name)),
        ),
      ),
      ['a 0'],
    );
  });

  it('replaces what has another kind, and keeps what is in a directory that comes again', () => {
    const lower = [folder('d'), file('d/x'), file('f'), symlink('s', 'd')];
    assert.deepEqual(paths(tree(lower, [file('d', 1), folder('f'), folder('s')])), [
      ...['d 1', 'f/', 's/'],
    ]);
    const again = tree(lower, [{ ...folder('d'), permissions: 0o700 }]);
    assert.equal(again.entries.get('d')?.permissions, 0o700);
    assert.deepEqual(paths(again).slice(0, 2), ['d/', 'd/x 0']);
  });

  it('follows links of lower layers, inside the root', () => {
    const usr = [folder('usr'), folder('usr/lib'), symlink('lib', 'usr/lib')];
    assert.ok(paths(tree(usr, [file('lib/x', 1)])).includes('usr/lib/x 1'));
    const out = [symlink('out', '../../../..'), symlink('abs', '/usr')];
    assert.deepEqual(paths(tree([...usr, ...out], [file('out/x', 1), file('abs/y', 1)])), [
      ...[
        'abs -> /usr',
        'lib -> usr/lib',
        'out -> ../../../..',
        'usr/',
        'usr/lib/',
        'usr/y 1',
        'x 1',
      ],
    ]);
    assert.deepEqual(paths(tree([file('../../etc/x'), file('/abs')])), [
      'abs 0',
      'etc/',
      'etc/x 0',
    ]);
    assert.throws(() => tree([symlink('a', 'b'), symlink('b', 'a'), file('a/x')]), {
      code: 'LAYER_ENTRY_INVALID',
      message: /too many symbolic links/,
    });
  });

  it('links to files of lower layers, and to themselves', () => {
    const linked = tree([folder('d'), file('d/a')], [link('b', 'd/a'), link('d/a', 'd/a')]);
    assert.equal(linked.entries.get('b'), (linked.entries.get('d') as Directory).entries.get('a'));
    for (const target of ['none', 'd', '']) {
      assert.throws(() => tree([folder('d'), link('b', target)]), { code: 'LAYER_ENTRY_INVALID' });
    }
  });

  it('bounds the directories that nobody has named', () => {
    const deep = (index: number) => file(`${index}/${'d/'.repeat(2000)}f`);
    assert.throws(() => tree(Array.from({ length: 60 }, (_, index) => deep(index))), {
      code: 'LAYER_ENTRY_INVALID',
    });
  });

  it('gives for ten thousand lists of hostile entries one error or a sound tree', () => {
    const part = fc.constantFrom('a', 'b', 'c', '..', '.', '', '.wh.a', '.wh..wh..opq', '.wh...');
    const path = fc.array(part, { maxLength: 5 }).map((parts) => parts.join('/'));
    const kind = fc.constantFrom<LayerEntry['kind']>(
      'file',
      'directory',
      'symlink',
      'link',
      'fifo',
    );
    const entry = fc.record({ kind, name: path, linkName: path });
    const layers = fc.array(fc.array(entry, { maxLength: 12 }), { maxLength: 4 });
    fc.assert(
      fc.property(layers, (all) => {
        let root: Directory;
        try {
          root = tree(...all.map((entries) => entries.map((own) => ({ ...BASE, ...own }))));
          const seen = new Set<Inode>();
          for (const [name, inode] of walk(root)) {
            assert.doesNotMatch(name, /(^|\/)\.{0,2}(\/|$)/);
            if (inode.kind === 'directory') assert.ok(!seen.has(inode), `${name} twice`);
            seen.add(inode);
          }
          new ErofsReader(new BytesSource(writeErofs(root, []))).tree();
        } catch (cause) {
          if (!(cause instanceof PandoError)) throw cause;
          assert.match(cause.code, /^(LAYER_ENTRY_INVALID|EROFS_BAD_TARGET)$/);
        }
      }),
      { numRuns: 10_000 },
    );
  });
});
