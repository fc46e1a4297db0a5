/** What a sandbox goes on from when a client names a template: a snapshot, a build, or an image of the store. */
import { DEFAULT_IMAGE_NAME } from '../../image/manifest.js';
import { ImageStore } from '../../image/store.js';
import type { SandboxOptions } from '../../sandbox/sandbox.js';
import type { HostedOptions } from '../hosted-sandbox.js';
import { RequestError } from '../http.js';
import { isSnapshotOf, snapshotMemory, snapshotState } from '../snapshots.js';
import { buildSnapshot, type TemplateStore } from './template-store.js';

/** The template that clients name when their user names none. */
export const CLIENT_TEMPLATE = 'base';
/** The image of that template, as builds name it. */
const CLIENT_IMAGES = ['e2bdev/base', 'e2bdev/base:latest', CLIENT_TEMPLATE];

export interface TemplateSource {
  readonly source: Pick<SandboxOptions, 'image' | 'snapshot'>;
  /** Bytes of guest RAM; whatever is wanted when absent. */
  readonly memory?: number;
  readonly defaults: Pick<HostedOptions, 'env' | 'user' | 'cwd'>;
}

/** What a machine of an image goes on from. */
function ofImage(image: string): TemplateSource {
  return { source: { image }, defaults: { env: {} } };
}

/**
 * @param pull whether an image of a registry will do
 * @throws RequestError 404, PandoError IMAGE_REFERENCE_INVALID
 */
export async function sourceOf(
  templates: TemplateStore,
  owner: string,
  template: string,
  pull: boolean,
): Promise<TemplateSource> {
  if (template === CLIENT_TEMPLATE) return ofImage(DEFAULT_IMAGE_NAME);
  if (isSnapshotOf(owner, template)) {
    const memory = await snapshotMemory(template);
    return { source: { snapshot: template }, memory, defaults: await snapshotState(template) };
  }
  // No template has such a name, and every reference that says where the image is.
  if (template.includes('/')) return sourceOfImage(template, pull);
  const build = await templates.build(owner, template);
  if (build === undefined) return ofImage(template);
  const { memory, state } = build;
  return { source: { snapshot: buildSnapshot(owner, build.buildID) }, memory, defaults: state };
}

/**
 * What goes on from an image, of the store or of a registry.
 * @param pull whether one of a registry will do
 * @throws RequestError 404, PandoError IMAGE_REFERENCE_INVALID
 */
export async function sourceOfImage(image: string, pull: boolean): Promise<TemplateSource> {
  if (CLIENT_IMAGES.includes(image)) return ofImage(DEFAULT_IMAGE_NAME);
  if ((await new ImageStore().names()).includes(image)) return ofImage(image);
  if (pull) {
    const { formatImageReference, parseImageReference } = await import(
      '../../image/oci/reference.js'
    );
    return ofImage(formatImageReference(parseImageReference(image)));
  }
  const remedy = 'images are base, and those of the store: pando image ls';
  throw new RequestError(404, `there is no image ${image}; ${remedy}`);
}
