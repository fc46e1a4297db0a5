/**
 * Which layers the store has, by the digest that they came with: an image that shares a layer with
 * another, or whose pull was interrupted, need not fetch it again. `layers/<digits of the digest>` in the
 * store's folder; each file may go at any time.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PandoError } from '../../error.js';
import { publishReplacing, writeTemporary } from '../atomic-file.js';
import { formatLayerReference, type LayerReference, parseLayerReference } from '../manifest.js';
import type { ImageStore } from '../store.js';
import { storeFolders } from '../store-folders.js';

function pathOf(store: ImageStore, digest: string): string {
  return join(storeFolders(store.folder).layers, digest.slice(digest.indexOf(':') + 1));
}

/** A layer whose objects are there and undamaged. */
export async function findLayer(
  store: ImageStore,
  digest: string,
): Promise<LayerReference | undefined> {
  const path = pathOf(store, digest);
  try {
    const layer = parseLayerReference(path, await readFile(path, 'utf8'));
    if (layer.digest !== digest || !(await store.keep(layer.index))) return undefined;
    return layer.data === undefined || (await store.keep(layer.data)) ? layer : undefined;
  } catch (cause) {
    const known = cause instanceof PandoError && cause.code === 'MANIFEST_INVALID';
    if (known || (cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw cause;
  }
}

/** Writes down that the store has a layer. */
export async function rememberLayer(store: ImageStore, layer: LayerReference): Promise<void> {
  const folder = storeFolders(store.folder).layers;
  await mkdir(folder, { recursive: true });
  const bytes = Buffer.from(formatLayerReference(layer));
  await publishReplacing(await writeTemporary(folder, bytes, 0o644), pathOf(store, layer.digest));
}
