import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { PandoError } from '../error.js';
import { FileCache, type KeptFile } from './file-cache.js';
import { ImageStore, sha256 } from './store.js';

const KIB = 1024;

describe('files that a store keeps', () => {
  let folder: string;
  let cache: FileCache;

  beforeEach(() => {
    folder = join(mkdtempSync(join(tmpdir(), 'pando-file-cache-')), 'images');
    cache = new FileCache(folder, 10 * KIB);
  });
  afterEach(() => rmSync(join(folder, '..'), { recursive: true }));

  function add(byte: number, size: number): KeptFile {
    const bytes = new Uint8Array(size).fill(byte);
    const kept = cache.add(`file ${byte}`, size, (write) => write(bytes));
    assert.equal(kept?.sha256, sha256(bytes));
    return kept!;
  }

  /** As if a file had been used so many minutes ago. */
  function age({ path }: KeptFile, minutes: number): void {
    const then = new Date(Date.now() - minutes * 60_000);
    utimesSync(path, then, then);
  }

  it('stay within a limit: the one that was used longest ago goes, with what boots of it left', () => {
    const [one, two] = [add(1, 4 * KIB), add(2, 4 * KIB)];
    for (const part of ['profiles', 'deduplicated']) {
      mkdirSync(join(folder, part));
      for (const { sha256: name } of [one, two]) {
        writeFileSync(
          join(folder, part, part === 'deduplicated' ? `${name}-wasm-1-256` : name),
          '',
        );
      }
    }
    age(one, 30);
    age(two, 60);
    const three = add(3, 4 * KIB);
    assert.equal(existsSync(two.path), false);
    assert.deepEqual(readdirSync(join(folder, 'files')).sort(), [one.sha256, three.sha256].sort());
    assert.deepEqual(readdirSync(join(folder, 'profiles')), [one.sha256]);
    assert.deepEqual(readdirSync(join(folder, 'deduplicated')), [`${one.sha256}-wasm-1-256`]);
    assert.equal(cache.find('file 2'), undefined);
    assert.equal(cache.find('file 1')?.path, one.path);
  });

  it('stay while they may be about to be mapped, and when they are used again', () => {
    const [one, two] = [add(1, 4 * KIB), add(2, 4 * KIB)];
    add(3, 4 * KIB);
    assert.ok(existsSync(one.path) && existsSync(two.path), 'used a moment ago');
    age(one, 60);
    age(two, 30);
    assert.ok(cache.find('file 1'));
    add(4, 4 * KIB);
    assert.ok(existsSync(one.path));
    assert.equal(existsSync(two.path), false);
  });

  it('are not made of what is too large, nor of what cannot be read', () => {
    assert.equal(
      cache.add('large', 6 * KIB, () => assert.fail('read')),
      undefined,
    );
    const gone = new PandoError('FILE_CHANGED', 'changed');
    assert.throws(
      () =>
        cache.add('changed', 10, (write) => {
          write(Buffer.from('half'));
          throw gone;
        }),
      gone,
    );
    assert.deepEqual(readdirSync(join(folder, 'temporary')), []);
    assert.deepEqual(readdirSync(join(folder, 'files')), []);
  });

  it('are not made twice of what an image has', async () => {
    const object = await new ImageStore(folder).put(new Uint8Array(KIB).fill(9));
    assert.equal(add(9, KIB).path, join(folder, 'objects', object.sha256));
    assert.deepEqual(readdirSync(join(folder, 'files')), []);
  });

  it('are given up where the store cannot be written', () => {
    writeFileSync(folder, 'in the way');
    assert.equal(
      cache.add('a', 1, (write) => write(Uint8Array.of(1))),
      undefined,
    );
    assert.equal(cache.find('a'), undefined);
    cache.remember('a', '0'.repeat(64), 1);
    assert.equal(cache.recall('a'), undefined);
  });

  it('go when the store is pruned, and what boots of them left with them', async () => {
    const store = new ImageStore(folder);
    const [old, young] = [add(1, KIB), add(2, KIB)];
    mkdirSync(join(folder, 'profiles'));
    for (const { sha256: name } of [old, young]) writeFileSync(join(folder, 'profiles', name), '');
    age(old, 2);
    const { files, profiles } = await store.prune();
    assert.deepEqual(files, [{ name: old.sha256, size: KIB }]);
    assert.deepEqual(
      profiles.map(({ name }) => name),
      [old.sha256],
    );
    assert.deepEqual(readdirSync(join(folder, 'files')), [young.sha256]);
    assert.deepEqual(readdirSync(join(folder, 'profiles')), [young.sha256]);
  });
});
