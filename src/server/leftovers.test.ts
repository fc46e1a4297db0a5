import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { temporaryName } from '../image/atomic-file.js';
import { SNAPSHOT_FORMAT, type SnapshotManifest } from '../snapshot/manifest.js';
import { SnapshotStore } from '../snapshot/snapshot-store.js';
import { removeLeftovers } from './leftovers.js';
import { servedFolders } from './served-folders.js';
import { TemplateStore } from './templates/template-store.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-leftovers-'));
after(() => rmSync(folder, { recursive: true }));
process.env.PANDO_STORE = folder;

const FILE = { sha256: '0'.repeat(64), size: 0 };
const LONG_AGO = new Date(2020, 1, 1);

function manifest(name: string, created: Date): SnapshotManifest {
  return {
    format: SNAPSHOT_FORMAT,
    name,
    created: created.toISOString(),
    pando: '0',
    machine: {
      accelerator: 'wasm',
      memory: 4096,
      cpus: 1,
      cpu: 'max',
      commandLine: '',
      tier: 'auto',
      rng: true,
      vsock: true,
    },
    disks: [],
    net: null,
    kernel: FILE,
    initrd: null,
    modules: null,
    pmem: [],
    pages: FILE,
    state: FILE,
    runs: [],
  };
}

test('what dead servers were writing goes, what others write and what is meant stays', async () => {
  const templates = new TemplateStore();
  await removeLeftovers(templates);
  const { states, temporary } = servedFolders();
  for (const each of [states, temporary]) mkdirSync(each, { recursive: true });
  const { pid } = spawnSync(process.execPath, ['--version']);
  const written = temporaryName(temporary);
  const dead = written.replace(`${process.pid}-`, `${pid}-`);
  for (const path of [written, dead]) writeFileSync(path, 'half');
  for (const path of ['here', 'gone', 'new'].map((name) => join(states, `${name}.json`)))
    writeFileSync(path, '{}');
  for (const name of ['here', 'gone']) utimesSync(join(states, `${name}.json`), 0, 0);
  const store = new SnapshotStore();
  const build = { buildID: 'meant', memory: 4096, state: { env: {}, user: 'root' } };
  const times = { createdAt: LONG_AGO.toISOString(), finishedAt: LONG_AGO.toISOString() };
  const template = { templateID: 'id', name: 'name' };
  await templates.add('owner', template, { ...build, ...times }, ['default']);
  for (const name of ['here', 'built-owner-meant', 'built-owner-half'])
    await store.publish(manifest(name, LONG_AGO), false);
  await store.publish(manifest('built-owner-new', new Date()), false);

  await removeLeftovers(templates);
  assert.deepEqual(
    readdirSync(temporary).map((name) => join(temporary, name)),
    [written],
  );
  assert.deepEqual(readdirSync(states).sort(), ['here.json', 'new.json']);
  assert.deepEqual(await store.names(), ['built-owner-meant', 'built-owner-new', 'here']);
});
