/**
 * The JSON documents of an image: index, manifest and configuration, of OCI and of Docker's schema 2
 * (OCI Image Format Specification: image-index.md, manifest.md, config.md, descriptor.md; Docker
 * Registry, "Image Manifest V 2, Schema 2"). The two families differ in their media types only.
 */
import { createHash, type Hash } from 'node:crypto';
import { PandoError } from '../../error.js';
import { type FieldError, JsonFields } from '../json-fields.js';
import type { ContainerConfig } from '../manifest.js';

/** More than any manifest, index or configuration has. */
export const DOCUMENT_LIMIT = 8 << 20;

/** Layers that one image may have; overlay file systems take fewer. */
const LAYER_COUNT_LIMIT = 1024;

const MANIFEST_TYPES = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
];
const INDEX_TYPES = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
];

/** Media types to ask a registry for. */
export const DOCUMENT_TYPES = [...MANIFEST_TYPES, ...INDEX_TYPES];

/** Where a piece of content is to be found and what it must be. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  /** Bytes. */
  readonly size: number;
}

/** An image's manifest. */
export interface ImageDocument {
  readonly config: Descriptor;
  /** The lowest first. */
  readonly layers: readonly Descriptor[];
}

const DIGEST = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;

/** Whether a text is a digest of an algorithm that is known here. */
export function isDigest(text: string): boolean {
  return DIGEST.test(text);
}

/** A hash of the algorithm that a digest names. */
export function hashFor(digest: string): Hash {
  return createHash(digest.slice(0, digest.indexOf(':')));
}

/** The error for content that is not what its digest or size promises. */
export function digestMismatch(descriptor: Descriptor, found: string): PandoError {
  return new PandoError(
    'DIGEST_MISMATCH',
    `content ${descriptor.digest} of ${descriptor.size} bytes: got ${found}`,
    { remedy: 'pull again; if it stays so, distrust the registry or the file' },
  );
}

/** @throws PandoError DIGEST_MISMATCH */
export function verifyDocument(descriptor: Descriptor, bytes: Uint8Array): void {
  if (bytes.length !== descriptor.size) throw digestMismatch(descriptor, `${bytes.length} bytes`);
  const actual = hashFor(descriptor.digest).update(bytes).digest('hex');
  if (!descriptor.digest.endsWith(`:${actual}`)) throw digestMismatch(descriptor, actual);
}

function invalidDocument(what: string): FieldError {
  return (field, expected) =>
    new PandoError(
      'IMAGE_DOCUMENT_INVALID',
      `${what}: ${field || 'the whole'} is not ${expected}`,
      {
        remedy: 'the image was built wrong: build it again',
      },
    );
}

function parse(what: string, bytes: Uint8Array): JsonFields {
  return JsonFields.parse(Buffer.from(bytes).toString('utf8'), invalidDocument(what));
}

function descriptor(fields: JsonFields): Descriptor {
  return {
    mediaType: fields.has('mediaType') ? fields.text('mediaType') : '',
    digest: fields.text('digest', DIGEST),
    size: fields.size('size'),
  };
}

/** Whether an index's entry is for this kind of machine; one without a platform is. */
function suits(fields: JsonFields): boolean {
  if (!fields.has('platform')) return true;
  const platform = fields.object('platform');
  return platform.text('os') === 'linux' && platform.text('architecture') === 'amd64';
}

/**
 * Reads a document that is an index or a manifest.
 * @returns the manifest, or the descriptor of the next document to read
 * @throws PandoError IMAGE_DOCUMENT_INVALID, PLATFORM_MISSING, IMAGE_FORMAT_OLD
 */
export function readImageDocument(bytes: Uint8Array): ImageDocument | Descriptor {
  const fields = parse('image manifest', bytes);
  if (fields.size('schemaVersion') !== 2) {
    throw new PandoError('IMAGE_FORMAT_OLD', 'the image has a manifest of schema 1', {
      remedy: 'push it again with a program of today',
    });
  }
  if (fields.has('manifests')) {
    const fitting = fields.list('manifests').find(suits);
    if (fitting !== undefined) return descriptor(fitting);
    throw new PandoError('PLATFORM_MISSING', 'the image is not made for linux/amd64', {
      remedy: 'take an image that is made for x86-64 machines',
    });
  }
  const layers = fields.list('layers').map(descriptor);
  if (layers.length > LAYER_COUNT_LIMIT) {
    throw invalidDocument('image manifest')('layers', `a list of at most ${LAYER_COUNT_LIMIT}`);
  }
  return { config: descriptor(fields.object('config')), layers };
}

/** What is wanted of an image's configuration. */
export interface ImageConfiguration {
  readonly container: ContainerConfig;
  /** Digests of the unpacked layers, the lowest first. */
  readonly diffIds: readonly string[];
}

/**
 * Reads an image's configuration.
 * @throws PandoError IMAGE_DOCUMENT_INVALID, PLATFORM_MISSING
 */
export function readConfiguration(bytes: Uint8Array): ImageConfiguration {
  const what = 'image configuration';
  const fields = parse(what, bytes);
  const architecture = fields.has('architecture') ? fields.text('architecture') : 'amd64';
  if (architecture !== 'amd64') {
    throw new PandoError('PLATFORM_MISSING', `the image is made for ${architecture} machines`, {
      remedy: 'take an image that is made for x86-64 machines',
    });
  }
  const config = fields.has('config') ? fields.object('config') : undefined;
  const texts = (key: string) => (config?.has(key) ? config.texts(key) : []);
  const text = (key: string) => (config?.has(key) ? config.text(key) : '');
  const labels = config?.has('Labels') ? config.object('Labels') : undefined;
  const ports = config?.has('ExposedPorts') ? config.object('ExposedPorts').keys() : [];
  const diffIds = fields.object('rootfs').texts('diff_ids');
  const wrong = diffIds.find((digest) => !isDigest(digest));
  if (wrong !== undefined) throw invalidDocument(what)('rootfs.diff_ids', 'a list of digests');
  return {
    container: {
      entrypoint: texts('Entrypoint'),
      cmd: texts('Cmd'),
      env: texts('Env'),
      user: text('User'),
      workdir: text('WorkingDir'),
      exposedPorts: ports.sort(),
      labels: Object.fromEntries(
        (labels?.keys() ?? []).sort().map((key) => [key, labels?.text(key) ?? '']),
      ),
    },
    diffIds,
  };
}
