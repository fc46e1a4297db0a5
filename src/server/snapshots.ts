/**
 * Snapshots of sandboxes: each is a snapshot of the store, whose name says whose it is and of what. What its
 * commands get stands beside it, in `served/snapshots/NAME.json`.
 */
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { PandoError, reasonOf } from '../error.js';
import { publishReplacing, writeTemporary } from '../image/atomic-file.js';
import { SnapshotStore } from '../snapshot/snapshot-store.js';
import { type HostedOptions, type HostedSandbox, randomId } from './hosted-sandbox.js';
import { RequestError } from './http.js';
import { servedFolders } from './served-folders.js';

export interface SnapshotEntry {
  readonly snapshotID: string;
  readonly names: readonly string[];
}

/** `served`, the owner, the sandbox, and the client's name, which a store's name of 64 characters leaves. */
const NAME = /^[a-z0-9][a-z0-9_]{0,19}$/i;

function statePath(snapshotID: string): string {
  return join(servedFolders().states, `${snapshotID}.json`);
}

function prefixOf(owner: string): string {
  return `served-${owner}-`;
}

function entryOf(snapshotID: string): SnapshotEntry {
  return { snapshotID, names: [snapshotID.split('-').at(-1) ?? snapshotID] };
}

/** Whether a template is a snapshot that an owner has made. */
export function isSnapshotOf(owner: string, template: string): boolean {
  return template.startsWith(prefixOf(owner));
}

/** Writes a sandbox down. @throws RequestError 400, PandoError SNAPSHOT_… */
export async function takeSnapshot(
  hosted: HostedSandbox,
  name = randomId(),
): Promise<SnapshotEntry> {
  if (!NAME.test(name)) {
    throw new RequestError(400, 'a name has up to 20 letters, digits and underscores');
  }
  const { owner, user, cwd } = hosted.options;
  const snapshotID = `${prefixOf(owner)}${hosted.id}-${name}`;
  await hosted.sandbox.snapshot(snapshotID);
  const state = { env: hosted.sandbox.env, user, cwd };
  const { states, temporary } = servedFolders();
  for (const folder of [states, temporary]) await mkdir(folder, { recursive: true });
  const written = await writeTemporary(temporary, Buffer.from(JSON.stringify(state)), 0o600);
  await publishReplacing(written, statePath(snapshotID));
  return entryOf(snapshotID);
}

/** What commands get in a sandbox that goes on from a snapshot: what they got in the one that was written down. */
export async function snapshotState(
  snapshotID: string,
): Promise<Pick<HostedOptions, 'env' | 'user' | 'cwd'>> {
  try {
    return JSON.parse(await readFile(statePath(snapshotID), 'utf8'));
  } catch (error) {
    // A server of an earlier release wrote none.
    if (reasonOf(error) === 'ENOENT') return { env: {} };
    throw error;
  }
}

/** Snapshots of an owner, in order of their ids; those of one sandbox, or of one name. */
export async function listSnapshots(
  owner: string,
  query: URLSearchParams,
): Promise<SnapshotEntry[]> {
  const sandbox = query.get('sandboxID');
  const name = query.get('name');
  const prefix = prefixOf(owner) + (sandbox === null ? '' : `${sandbox}-`);
  return (await new SnapshotStore().names())
    .filter((id) => id.startsWith(prefix))
    .map(entryOf)
    .filter(({ names }) => name === null || names.includes(name));
}

/** Bytes of guest RAM that a snapshot needs. @throws RequestError 404 */
export async function snapshotMemory(template: string): Promise<number> {
  try {
    return (await new SnapshotStore().manifest(template)).machine.memory;
  } catch (error) {
    if (!(error instanceof PandoError) || error.code !== 'SNAPSHOT_NOT_FOUND') throw error;
    throw new RequestError(404, `there is no template ${template}`);
  }
}

/** @throws RequestError 404 when the owner has none such */
export async function removeSnapshot(owner: string, template: string): Promise<void> {
  const store = new SnapshotStore();
  const there = isSnapshotOf(owner, template) && (await store.names()).includes(template);
  if (!there) throw new RequestError(404, `there is no snapshot ${template}`);
  await store.remove(template);
  await rm(statePath(template), { force: true });
}
