/**
 * Images on this host: the OCI layout (OCI Image Format Specification, image-layout.md), as a folder
 * or an archive, and what `docker save` writes (Docker Image Specification v1.2, "Combined Image JSON +
 * Filesystem Changeset Format").
 */
import { statSync } from 'node:fs';
import { PandoError } from '../../error.js';
import { detectCompression, MAGIC_BYTES } from '../../loader/decompress/decompress.js';
import { JsonFields } from '../json-fields.js';
import { sha256 } from '../store.js';
import type { Descriptor } from './documents.js';
import { hashFor } from './documents.js';
import { ArchiveFiles, FolderFiles, type ImageFiles } from './image-files.js';
import type { ImageSource } from './image-source.js';

const INDEX = 'index.json';
const DOCKER_MANIFEST = 'manifest.json';
const TAG_ANNOTATION = 'org.opencontainers.image.ref.name';

function parse(files: ImageFiles, name: string, json: string): JsonFields {
  return JsonFields.parse(
    json,
    (field, expected) =>
      new PandoError(
        'IMAGE_DOCUMENT_INVALID',
        `image ${files.path}: ${name}: ${field || 'the whole'} is not ${expected}`,
      ),
  );
}

/** The error for an archive of several images, or without the one wanted. */
function ambiguous(files: ImageFiles, tags: readonly string[], wanted?: string): PandoError {
  const listed = tags.length === 0 ? 'none' : tags.join(', ');
  const what = wanted === undefined ? 'has several images' : `has no image ${wanted}`;
  return new PandoError('IMAGE_AMBIGUOUS', `${files.path} ${what}; tags: ${listed}`, {
    remedy: 'name one with --tag',
  });
}

/** The OCI layout. */
class LayoutSource implements ImageSource {
  readonly reference: string;

  constructor(
    private readonly files: ImageFiles,
    private readonly tag: string | undefined,
  ) {
    this.reference = tag === undefined ? files.path : `${files.path}:${tag}`;
  }

  async resolve(): Promise<Descriptor> {
    const bytes = await this.files.read(INDEX);
    const fields = parse(this.files, INDEX, Buffer.from(bytes).toString('utf8'));
    const entries = fields.list('manifests').map((entry) => {
      const annotations = entry.has('annotations') ? entry.object('annotations') : undefined;
      const tag = annotations?.has(TAG_ANNOTATION) ? annotations.text(TAG_ANNOTATION) : undefined;
      const mediaType = entry.has('mediaType') ? entry.text('mediaType') : '';
      return { tag, mediaType, digest: entry.text('digest'), size: entry.size('size') };
    });
    const tags = entries.flatMap(({ tag }) => tag ?? []);
    if (this.tag !== undefined) {
      const found = entries.find(({ tag }) => tag === this.tag);
      if (found === undefined) throw ambiguous(this.files, tags, this.tag);
      return found;
    }
    if (new Set(tags).size > 1) throw ambiguous(this.files, tags);
    return { mediaType: '', digest: `sha256:${sha256(bytes)}`, size: bytes.length };
  }

  private blob(digest: string): string {
    return `blobs/${digest.replace(':', '/')}`;
  }

  async document({ digest }: Descriptor): Promise<Uint8Array> {
    const index = await this.files.read(INDEX);
    return digest === `sha256:${sha256(index)}` ? index : this.files.read(this.blob(digest));
  }

  layer({ digest }: Descriptor): AsyncIterable<Uint8Array> {
    return this.files.stream(this.blob(digest));
  }

  async close(): Promise<void> {}
}

/** An archive of `docker save`: its documents are made to OCI's when it is resolved. */
class DockerArchiveSource implements ImageSource {
  readonly reference: string;
  private readonly documents = new Map<string, Uint8Array>();
  /** Members by digest. */
  private readonly layers = new Map<string, string>();

  constructor(
    private readonly files: ImageFiles,
    private readonly tag: string | undefined,
  ) {
    this.reference = tag === undefined ? files.path : `${files.path}:${tag}`;
  }

  private remember(bytes: Uint8Array): { readonly digest: string; readonly size: number } {
    const digest = `sha256:${sha256(bytes)}`;
    this.documents.set(digest, bytes);
    return { digest, size: bytes.length };
  }

  /** A layer's digest: its diff_id, unless it is compressed. */
  private async digestOf(member: string, diffId: string | undefined): Promise<string> {
    let head: Uint8Array = new Uint8Array(0);
    for await (const piece of this.files.stream(member)) {
      head = piece.subarray(0, MAGIC_BYTES);
      break;
    }
    if (diffId !== undefined && detectCompression(head) === undefined) return diffId;
    const hash = hashFor('sha256:');
    for await (const piece of this.files.stream(member)) hash.update(piece);
    return `sha256:${hash.digest('hex')}`;
  }

  async resolve(): Promise<Descriptor> {
    const text = Buffer.from(await this.files.read(DOCKER_MANIFEST)).toString('utf8');
    const images = parse(this.files, DOCKER_MANIFEST, `{"images":${text}}`).list('images');
    const tagsOf = (image: JsonFields) => (image.has('RepoTags') ? image.texts('RepoTags') : []);
    const { tag } = this;
    const fitting =
      tag === undefined
        ? images
        : images.filter((image) =>
            tagsOf(image).some((it) => it === tag || it.endsWith(`:${tag}`)),
          );
    const [image, another] = fitting;
    if (image === undefined || another !== undefined) {
      throw ambiguous(this.files, images.flatMap(tagsOf), tag);
    }
    const configuration = await this.files.read(image.text('Config'));
    const config = this.remember(configuration);
    const rootfs = parse(this.files, 'config', Buffer.from(configuration).toString('utf8'));
    const diffIds = rootfs.object('rootfs').texts('diff_ids');
    const layers = [];
    for (const [index, member] of image.texts('Layers').entries()) {
      const digest = await this.digestOf(member, diffIds[index]);
      this.layers.set(digest, member);
      layers.push({ digest, size: this.files.size(member) });
    }
    const manifest = JSON.stringify({ schemaVersion: 2, config, layers });
    return { mediaType: '', ...this.remember(Buffer.from(manifest)) };
  }

  async document({ digest }: Descriptor): Promise<Uint8Array> {
    return this.documents.get(digest) ?? new Uint8Array(0);
  }

  layer({ digest }: Descriptor): AsyncIterable<Uint8Array> {
    return this.files.stream(this.layers.get(digest) ?? digest);
  }

  async close(): Promise<void> {
    this.documents.clear();
  }
}

/**
 * Opens a folder of the OCI layout, an archive of one, or an archive of `docker save`.
 * @param tag which image, where there are several
 * @throws PandoError FILE_UNREADABLE, IMAGE_LAYOUT_UNKNOWN, TAR_MALFORMED, TAR_UNSUPPORTED
 */
export async function openImageFiles(path: string, tag?: string): Promise<ImageSource> {
  const folder = statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  const files = folder ? new FolderFiles(path) : await ArchiveFiles.open(path);
  if (files.has(INDEX)) return new LayoutSource(files, tag);
  if (files.has(DOCKER_MANIFEST)) return new DockerArchiveSource(files, tag);
  throw new PandoError(
    'IMAGE_LAYOUT_UNKNOWN',
    `${path} has neither ${INDEX} nor ${DOCKER_MANIFEST}`,
    { remedy: 'name a folder of the OCI layout, or an archive of `docker save`' },
  );
}
