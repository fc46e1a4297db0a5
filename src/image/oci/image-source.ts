/** Where an image comes from: a registry, a folder of the OCI layout, or an archive of one. */
import { PandoError } from '../../error.js';
import {
  type Descriptor,
  DOCUMENT_LIMIT,
  digestMismatch,
  hashFor,
  type ImageDocument,
  readImageDocument,
  verifyDocument,
} from './documents.js';

/** Documents that lead to one another: an index of indexes is enough. */
const INDEX_DEPTH = 4;

/** What every source can do. Nothing that it gives has been checked. */
export interface ImageSource {
  /** What the user called it. */
  readonly reference: string;
  /** The descriptor of the image's index or manifest. */
  resolve(): Promise<Descriptor>;
  /** A manifest, an index or a configuration. */
  document(descriptor: Descriptor): Promise<Uint8Array>;
  /** The bytes of a layer as they come. */
  layer(descriptor: Descriptor): AsyncIterable<Uint8Array>;
  close(): Promise<void>;
}

/** An image's documents, their digests checked. */
export interface ResolvedImage {
  readonly document: ImageDocument;
  /** Digest of `document`. */
  readonly digest: string;
  readonly configuration: Uint8Array;
}

/** @throws PandoError DOCUMENT_TOO_LARGE, DIGEST_MISMATCH */
async function checkedDocument(source: ImageSource, wanted: Descriptor): Promise<Uint8Array> {
  if (wanted.size > DOCUMENT_LIMIT) {
    throw new PandoError(
      'DOCUMENT_TOO_LARGE',
      `document ${wanted.digest} has ${wanted.size} bytes, the limit is ${DOCUMENT_LIMIT}`,
    );
  }
  const bytes = await source.document(wanted);
  verifyDocument(wanted, bytes);
  return bytes;
}

/**
 * Follows indexes to the manifest for linux/amd64, and reads the configuration.
 * @throws PandoError IMAGE_DOCUMENT_INVALID, PLATFORM_MISSING, DIGEST_MISMATCH, DOCUMENT_TOO_LARGE,
 *   and what the source throws
 */
export async function resolveImage(source: ImageSource): Promise<ResolvedImage> {
  let descriptor = await source.resolve();
  for (let depth = 0; depth < INDEX_DEPTH; depth++) {
    const found = readImageDocument(await checkedDocument(source, descriptor));
    if ('layers' in found) {
      const configuration = await checkedDocument(source, found.config);
      return { document: found, digest: descriptor.digest, configuration };
    }
    descriptor = found;
  }
  throw new PandoError(
    'IMAGE_DOCUMENT_INVALID',
    `image ${source.reference}: indexes lead to indexes, ${INDEX_DEPTH} deep`,
  );
}

/**
 * A layer's bytes, checked as they pass: the end is reached only when they are what the descriptor says.
 * @param passed told how many bytes have passed
 * @throws PandoError DIGEST_MISMATCH
 */
export async function* checkedLayer(
  source: ImageSource,
  wanted: Descriptor,
  passed: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  const hash = hashFor(wanted.digest);
  let size = 0;
  for await (const piece of source.layer(wanted)) {
    size += piece.length;
    if (size > wanted.size) throw digestMismatch(wanted, `more than ${wanted.size} bytes`);
    hash.update(piece);
    passed(size);
    yield piece;
  }
  if (size !== wanted.size) throw digestMismatch(wanted, `${size} bytes`);
  const actual = hash.digest('hex');
  if (!wanted.digest.endsWith(`:${actual}`)) throw digestMismatch(wanted, actual);
}
