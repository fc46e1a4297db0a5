/** An image of the store that is there when it is needed. What pulls one is loaded only then. */
import { PandoError } from '../error.js';
import type { PullOptions } from './debian.js';
import { ownPartsDigest } from './init-script.js';
import { DEFAULT_IMAGE_NAME } from './manifest.js';
import { type Image, ImageStore } from './store.js';

/** Whether an image has what devices need; one of an earlier version lacks the modules, or has another release's scripts or agent. */
function isCurrent({ modulesPath, manifest }: Image): boolean {
  return modulesPath !== undefined && manifest.agent === ownPartsDigest();
}

/**
 * Opens an image, pulling it first when it is Debian's and is missing or damaged.
 * @param name `debian`, or any image of the store
 * @param options `modules`: Debian's is pulled again when it lacks the kernel's modules or this release's agent
 * @throws PandoError IMAGE_NOT_FOUND for a missing image that is not Debian's, and what pulling throws
 */
export async function ensureImage(
  name: string = DEFAULT_IMAGE_NAME,
  options: Pick<PullOptions, 'store' | 'cache' | 'progress'> & { readonly modules?: boolean } = {},
): Promise<Image> {
  const store = options.store ?? new ImageStore();
  try {
    const image = await store.open(name);
    if (name !== DEFAULT_IMAGE_NAME || options.modules !== true || isCurrent(image)) return image;
  } catch (cause) {
    if (name !== DEFAULT_IMAGE_NAME || !(cause instanceof PandoError)) throw cause;
    const curable = ['IMAGE_NOT_FOUND', 'OBJECT_MISSING', 'OBJECT_DAMAGED', 'MANIFEST_INVALID'];
    if (!curable.includes(cause.code)) throw cause;
  }
  const { pullDebian } = await import('./debian.js');
  return pullDebian({ ...options, store, name });
}
