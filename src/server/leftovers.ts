/**
 * What servers that were killed have left in the store: files that they were writing, machines of builds that no
 * template has got, states of snapshots that have gone.
 */
import { readdir, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { PandoError, reasonOf } from '../error.js';
import { removeStale, STALE_AFTER_MS } from '../image/atomic-file.js';
import { SnapshotStore } from '../snapshot/snapshot-store.js';
import { servedFolders } from './served-folders.js';
import { isBuildSnapshot, type TemplateStore } from './templates/template-store.js';

/** Older than any build or snapshot that is under way. */
function isStale(time: number): boolean {
  return Date.now() - time > STALE_AFTER_MS;
}

async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch((error: unknown) => {
    if (reasonOf(error) === 'ENOENT') return [];
    throw error;
  });
}

/** States of snapshots that are not there. */
async function removeStates(snapshots: ReadonlySet<string>): Promise<void> {
  const { states } = servedFolders();
  for (const name of await namesIn(states)) {
    const path = join(states, name);
    const found = await stat(path).catch(() => undefined);
    const isLeft = !snapshots.has(basename(name, '.json')) && isStale(found?.mtimeMs ?? Infinity);
    if (isLeft) await rm(path, { force: true });
  }
}

/** Machines of builds that were written down before their template was. */
async function removeMachines(
  store: SnapshotStore,
  snapshots: ReadonlySet<string>,
  templates: TemplateStore,
): Promise<void> {
  const meant = await templates.machines();
  for (const name of snapshots) {
    if (!isBuildSnapshot(name) || meant.has(name)) continue;
    try {
      const { created } = await store.manifest(name);
      if (isStale(Date.parse(created))) await store.remove(name);
    } catch (error) {
      // Another server may remove it at the same time; one of another release knows it, perhaps.
      if (!(error instanceof PandoError) || !error.code.startsWith('SNAPSHOT_')) throw error;
    }
  }
}

/** Removes all that; what another server is writing stays. @throws PandoError, and the system's errors */
export async function removeLeftovers(templates: TemplateStore): Promise<void> {
  const store = new SnapshotStore();
  await store.prepare();
  const { temporary } = servedFolders();
  if ((await namesIn(temporary)).length > 0) await removeStale(temporary);
  const snapshots = new Set(await store.names());
  await removeStates(snapshots);
  await removeMachines(store, snapshots, templates);
}
