/**
 * Makes an image of the store from an image of any source: layers to objects, one after the other, then
 * all of them to one EROFS image whose files' data stays in the layers' objects, which other images share.
 */
import { readFile } from 'node:fs/promises';
import { PandoError } from '../../error.js';
import { writeErofs } from '../erofs/writer.js';
import { type Directory, walk } from '../file-tree.js';
import type {
  ContainerConfig,
  LayerReference,
  ObjectReference,
  RootFileSystem,
} from '../manifest.js';
import { checkImageName } from '../manifest.js';
import { type ProgressSink, silent } from '../progress.js';
import { ImageStore, type RootImage } from '../store.js';
import { type Descriptor, digestMismatch, readConfiguration } from './documents.js';
import { checkedLayer, type ImageSource, resolveImage } from './image-source.js';
import { LAYER_LIMITS, type LayerLimits, storeLayer } from './layer.js';
import { findLayer, rememberLayer } from './layer-cache.js';
import { parseLayerIndex } from './layer-entry.js';
import { LayeredTree } from './merge.js';
import { unpackLayer } from './unpack.js';

/** How to store an image. */
export interface BuildOptions {
  readonly name: string;
  readonly store?: ImageStore;
  readonly progress?: ProgressSink;
  readonly limits?: LayerLimits;
}

/** Fetches a layer, or finds it. */
async function layerInStore(
  source: ImageSource,
  descriptor: Descriptor,
  diffId: string,
  phase: string,
  options: Required<BuildOptions>,
): Promise<LayerReference> {
  const { store, progress, limits } = options;
  const { digest, size } = descriptor;
  const known = await findLayer(store, digest);
  if (known !== undefined && known.diffId === diffId) return known;
  progress(phase, 0);
  const bytes = checkedLayer(source, descriptor, (passed) => progress(phase, passed / size));
  const stored = await storeLayer(unpackLayer(bytes), store, limits);
  if (stored.diffId !== diffId) {
    throw digestMismatch({ ...descriptor, digest: diffId }, `an unpacked layer ${stored.diffId}`);
  }
  const layer = { digest, ...stored };
  await rememberLayer(store, layer);
  return layer;
}

/** Data objects that files of the tree are in, each once, the lowest layer's first. */
function usedData(root: Directory, layers: readonly LayerReference[]): ObjectReference[] {
  const used = new Set<string>();
  for (const [, inode] of walk(root)) {
    if (inode.kind === 'file' && inode.size > 0) used.add(inode.data.blob);
  }
  const found = new Map<string, ObjectReference>();
  for (const { data } of layers) {
    if (data !== undefined && used.has(data.sha256)) found.set(data.sha256, data);
  }
  return [...found.values()];
}

/**
 * Lays layers of the store over one another and stores the file system's metadata.
 * @throws PandoError LAYER_ENTRY_INVALID, LAYER_INDEX_DAMAGED, and what the writer and the store throw
 */
export async function storeRoot(
  store: ImageStore,
  layers: readonly LayerReference[],
  config: ContainerConfig,
): Promise<RootFileSystem> {
  const tree = new LayeredTree();
  for (const { index, data } of layers) {
    const text = await readFile(store.objectPath(index), 'utf8');
    tree.apply(parseLayerIndex(text), data?.sha256 ?? '');
  }
  const data = usedData(tree.root, layers);
  const blobs = data.map(({ sha256, size }) => ({ name: sha256, size }));
  return { metadata: await store.put(writeErofs(tree.root, blobs)), data, layers, config };
}

/**
 * Stores the image for linux/amd64 that a source has.
 * @throws PandoError IMAGE_NAME_INVALID, DIGEST_MISMATCH, and what the source, layers and the store throw
 */
export async function buildImage(source: ImageSource, choice: BuildOptions): Promise<RootImage> {
  const { store = new ImageStore(), progress = silent, limits = LAYER_LIMITS } = choice;
  const options = { name: checkImageName(choice.name), store, progress, limits };
  progress(`resolving ${source.reference}`);
  const { document, digest, configuration } = await resolveImage(source);
  const { container, diffIds } = readConfiguration(configuration);
  if (diffIds.length !== document.layers.length) {
    throw new PandoError(
      'IMAGE_DOCUMENT_INVALID',
      `image ${source.reference}: ${document.layers.length} layers, ${diffIds.length} diff_ids`,
    );
  }
  const layers: LayerReference[] = [];
  for (const [index, descriptor] of document.layers.entries()) {
    const megabytes = (descriptor.size / 1e6).toFixed(1);
    const phase = `layer ${index + 1} of ${document.layers.length} (${megabytes} MB)`;
    layers.push(await layerInStore(source, descriptor, diffIds[index]!, phase, options));
  }
  progress('writing the file system');
  const root = await storeRoot(store, layers, container);
  await store.commitManifest({
    format: 2,
    name: options.name,
    created: new Date().toISOString(),
    commandLine: '',
    root,
    provenance: { kind: 'oci', packages: [], reference: source.reference, digest },
  });
  return store.openRoot(options.name);
}
