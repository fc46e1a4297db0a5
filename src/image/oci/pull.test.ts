import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { BytesSource } from '../../loader/byte-source.js';
import { ErofsReader } from '../erofs/reader.js';
import { ImageStore, type RootImage } from '../store.js';
import { readHostTree } from '../testing/host-tree.js';
import { CONFIG, makeOciImage } from '../testing/oci-image.js';
import { describeTree } from '../testing/trees.js';
import { importOciImage, pullImage } from './pull.js';

const TOOLS = [
  ['umoci', '--version'],
  ['skopeo', '--version'],
  ['docker-registry', '--version'],
  ['fsck.erofs', '-V'],
] as const;
const missing = TOOLS.filter(([tool, flag]) => spawnSync(tool, [flag]).status !== 0);
const skip =
  process.getuid?.() !== 0
    ? 'device nodes and owners need root to be unpacked by umoci'
    : missing.length > 0
      ? `not installed: ${missing.map(([tool]) => tool).join(', ')}`
      : false;

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

/** All bytes of an image. */
function bytesOf(image: RootImage): Buffer {
  return Buffer.concat(image.paths.map((path) => readFileSync(path)));
}

/** Its lines; times of directories are the unpacker's own business. */
function linesOf(lines: readonly string[]): string[] {
  return lines.map((line) => line.replace(/( directory \d+ \d+ \d+) -?\d+ \d+/, '$1'));
}

function treeOf(image: RootImage): string[] {
  const reader = new ErofsReader(new BytesSource(bytesOf(image)));
  return linesOf(describeTree(reader.tree(), (file) => reader.read(file)));
}

describe('an image of four layers', { skip }, () => {
  const work = mkdtempSync(join(tmpdir(), 'pando-oci-'));
  const store = new ImageStore(join(work, 'store'));
  let registry: ChildProcess | undefined;
  let host: string;
  let layout: string;
  let expected: string[];

  before(async () => {
    const made = makeOciImage(join(work, 'image'));
    layout = made.layout;
    const tree = readHostTree(made.rootfs);
    expected = linesOf(describeTree(tree.root, (file) => tree.read(file)));
    host = `127.0.0.1:${await freePort()}`;
    const configuration = join(work, 'registry.yml');
    writeFileSync(
      configuration,
      `version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: ${work}/registry\nhttp:\n  addr: ${host}\n`,
    );
    const child = spawn('docker-registry', ['serve', configuration], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    registry = child;
    await new Promise<void>((resolve, reject) => {
      child.on('exit', () => reject(new Error('docker-registry ended')));
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        if (text.includes('listening on')) resolve();
      });
    });
  });
  after(() => {
    registry?.removeAllListeners('exit');
    registry?.kill();
    rmSync(work, { recursive: true, force: true });
  });

  function copy(...args: string[]): void {
    const all = ['--insecure-policy', 'copy', '--dest-tls-verify=false', ...args];
    const { status, stderr } = spawnSync('skopeo', all, { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
  }

  it('is pulled from a registry with the tree that umoci unpacks', async () => {
    copy(`oci:${layout}:four`, `docker://${host}/group/four:v1`);
    const image = await pullImage(`${host}/group/four:v1`, { store });
    assert.equal(image.name, 'four-v1');
    assert.deepEqual(treeOf(image), expected);
    assert.deepEqual(image.config, CONFIG);
    assert.equal(image.manifest.provenance.reference, `${host}/group/four:v1`);
  });

  it('is clean to fsck.erofs', async () => {
    const file = join(work, 'erofs');
    writeFileSync(file, bytesOf(await store.openRoot('four-v1', { verify: true })));
    const { status, stdout, stderr } = spawnSync('fsck.erofs', ['--extract', file]);
    assert.equal(status, 0, `${stdout}${stderr}`);
  });

  it('gives the same objects from the layout, from docker save, and from schema 2', async () => {
    const wanted = (await store.openRoot('four-v1')).manifest.root;
    const archive = join(work, 'saved.tar');
    copy(`oci:${layout}:four`, `docker-archive:${archive}:example/four:v1`);
    copy('--format', 'v2s2', `oci:${layout}:four`, `docker://${host}/four:docker`);
    const images = [
      await importOciImage(layout, 'four', { name: 'layout', store }),
      await importOciImage(archive, undefined, { name: 'saved', store }),
      await pullImage(`${host}/four:docker`, { store, name: 'schema2' }),
    ];
    for (const { manifest } of images) {
      assert.deepEqual(manifest.root?.metadata, wanted?.metadata);
      assert.deepEqual(manifest.root?.data, wanted?.data);
    }
  });

  it('shares layers with another image, which are not fetched again', async () => {
    const phases = new Set<string>();
    await pullImage(`${host}/group/four:v1`, {
      ...{ store, name: 'again' },
      progress: (phase) => phases.add(phase),
    });
    assert.deepEqual(
      [...phases].filter((phase) => phase.startsWith('layer')),
      [],
    );
    await store.remove('again');
    assert.deepEqual(treeOf(await store.openRoot('four-v1', { verify: true })), expected);
  });

  it('leaves nothing when its images are removed', async () => {
    for (const name of await store.names()) await store.remove(name);
    assert.deepEqual(readdirSync(join(store.folder, 'objects')), []);
    assert.deepEqual(readdirSync(join(store.folder, 'temporary')), []);
  });
});
