import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { downloadsDirectory, pruneDownloads, registerStore } from './downloads.js';
import { ImageStore, sha256 } from './store.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-downloads-'));
after(() => rmSync(folder, { recursive: true }));

/** A store with an image that was made of a package with this hash. */
async function storeOf(name: string, hash: string): Promise<ImageStore> {
  const store = new ImageStore(join(folder, name));
  const kernel = await store.put(Buffer.from(name));
  const origin = {
    kind: 'debian',
    kernelFile: 'boot/vmlinuz',
    kernelFileSha256: kernel.sha256,
  } as const;
  const packages = [{ name: 'linux', version: '1', architecture: 'amd64', sha256: hash, size: 3 }];
  await store.commit({
    format: 1,
    name: 'debian',
    created: '2026-01-01T00:00:00.000Z',
    kernel,
    commandLine: '',
    provenance: { ...origin, packages },
  });
  return store;
}

test('pruning keeps what images of any store were made of, whichever store is in use', async () => {
  const before = { ...process.env };
  const cache = join(folder, 'cache');
  const packages = downloadsDirectory(cache);
  mkdirSync(packages, { recursive: true });
  const hashes = ['default', 'in use', 'registered', 'replaced'].map((word) =>
    sha256(Buffer.from(word)),
  );
  const name = (hash: string): string => `linux_${hash}.deb`;
  for (const hash of hashes) writeFileSync(join(packages, name(hash)), 'deb');
  try {
    process.env.XDG_DATA_HOME = join(folder, 'data');
    process.env.PANDO_STORE = join(folder, 'in use');
    await storeOf(join('data', 'pando', 'images'), hashes[0]!);
    await storeOf('in use', hashes[1]!);
    await registerStore(await storeOf('registered', hashes[2]!), cache);
    const pruned = await pruneDownloads(false, cache);
    assert.deepEqual(pruned, [{ name: name(hashes[3]!), size: 3 }]);
    assert.deepEqual(readdirSync(packages).sort(), hashes.slice(0, 3).map(name).sort());
    assert.equal((await pruneDownloads(true, cache)).length, 3);
  } finally {
    process.env = before;
  }
});
