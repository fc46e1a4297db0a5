/**
 * Names of images in registries: `[HOST[:PORT]/]NAME[:TAG][@DIGEST]` (OCI Distribution Specification,
 * "Pulling manifests"; Docker's rules for names without a host).
 */
import { PandoError } from '../../error.js';
import { isDigest } from './documents.js';

const DOCKER_HUB = 'docker.io';
const NAME = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const TAG = /^\w[\w.-]{0,127}$/;
const HOST = /^(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::\d{1,5})?$/i;

/** An image in a registry. */
export interface ImageReference {
  /** `docker.io` for Docker Hub, as credentials and people name it. */
  readonly host: string;
  readonly name: string;
  /** A tag, or a digest when the reference has one. */
  readonly version: string;
}

/**
 * @throws PandoError IMAGE_REFERENCE_INVALID
 */
export function parseImageReference(text: string): ImageReference {
  const [located, digest] = text.split('@', 2) as [string, string?];
  const slash = located.indexOf('/');
  const first = located.slice(0, Math.max(0, slash));
  const hosted = /[.:]/.test(first) || first === 'localhost';
  const host = hosted ? first : DOCKER_HUB;
  const path = hosted ? located.slice(slash + 1) : located;
  const colon = path.lastIndexOf(':');
  const plain = colon < 0 ? path : path.slice(0, colon);
  const tag = colon < 0 ? 'latest' : path.slice(colon + 1);
  // Docker Hub keeps its own images under library/.
  const name = host === DOCKER_HUB && !plain.includes('/') ? `library/${plain}` : plain;
  const valid = HOST.test(host) && NAME.test(name) && TAG.test(tag);
  if (valid && (digest === undefined || isDigest(digest))) {
    return { host: host.toLowerCase(), name, version: digest ?? tag };
  }
  throw new PandoError('IMAGE_REFERENCE_INVALID', `${JSON.stringify(text)} names no image`, {
    remedy: 'write it like registry.example:5000/group/name:tag',
  });
}

/** The whole name again. */
export function formatImageReference({ host, name, version }: ImageReference): string {
  return `${host}/${name}${isDigest(version) ? '@' : ':'}${version}`;
}

/** A name for the store: the last part of the image's name, and its tag unless that is `latest`. */
export function storeNameOf({ name, version }: ImageReference): string {
  const last = name.slice(name.lastIndexOf('/') + 1);
  const tagged = isDigest(version) || version === 'latest' ? last : `${last}-${version}`;
  return tagged
    .toLowerCase()
    .replace(/[^a-z0-9._-]/g, '-')
    .slice(0, 64);
}

/** Whether a host is this host, whose registries are spoken to without TLS. */
function isLoopback(host: string): boolean {
  return /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])(?::\d+)?$/.test(host);
}

/** Where a registry's API is. */
export function registryUrl({ host }: ImageReference): string {
  if (host === DOCKER_HUB) return 'https://registry-1.docker.io';
  return `${isLoopback(host) ? 'http' : 'https'}://${host}`;
}

/** What credentials of a host are kept under. */
export function credentialKeys({ host }: ImageReference): string[] {
  if (host === DOCKER_HUB) return ['https://index.docker.io/v1/', host, 'index.docker.io'];
  return [host, `https://${host}`, `http://${host}`];
}
