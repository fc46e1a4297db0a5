/** `pando image pull REGISTRY/NAME:TAG` and `pando image import --oci`: a source, opened, built, closed. */
import type { RootImage } from '../store.js';
import { type BuildOptions, buildImage } from './build.js';
import type { ImageSource } from './image-source.js';
import { openImageFiles } from './layout.js';
import { parseImageReference, storeNameOf } from './reference.js';
import { RegistrySource } from './registry.js';

/** Where the image goes, and how. */
export type OciOptions = Partial<BuildOptions>;

async function buildFrom(source: ImageSource, options: BuildOptions): Promise<RootImage> {
  try {
    return await buildImage(source, options);
  } finally {
    await source.close();
  }
}

/**
 * Pulls an image for linux/amd64 from a registry.
 * @param reference `[HOST[:PORT]/]NAME[:TAG][@DIGEST]`
 * @param options `name` is by default the last part of the reference, and its tag unless that is `latest`
 * @throws PandoError IMAGE_REFERENCE_INVALID, REGISTRY_*, IMAGE_NOT_IN_REGISTRY, DIGEST_MISMATCH, and
 *   what layers and the store throw
 */
export async function pullImage(reference: string, options: OciOptions = {}): Promise<RootImage> {
  const image = parseImageReference(reference);
  return buildFrom(new RegistrySource(image), { name: storeNameOf(image), ...options });
}

/**
 * Imports an image from a folder of the OCI layout or an archive of `docker save`.
 * @param tag which image, where there are several
 * @throws PandoError FILE_UNREADABLE, IMAGE_LAYOUT_UNKNOWN, IMAGE_AMBIGUOUS, DIGEST_MISMATCH, and what
 *   layers and the store throw
 */
export async function importOciImage(
  path: string,
  tag: string | undefined,
  options: BuildOptions,
): Promise<RootImage> {
  return buildFrom(await openImageFiles(path, tag), options);
}
