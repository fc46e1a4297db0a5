/**
 * From a layer's archive to two objects of the store: the files' bytes, each file from a page boundary
 * on, and the index of entries (layer-entry.ts). One pass over the stream; nothing is unpacked to the
 * disk as files, so no path of an archive can reach anything (OCI Image Format Specification, layer.md).
 */
import { createHash } from 'node:crypto';
import { PandoError } from '../../error.js';
import { isStorableXattr } from '../erofs/xattr.js';
import { displayName } from '../file-tree.js';
import type { ObjectReference } from '../manifest.js';
import type { ObjectWriter } from '../object-writer.js';
import type { ImageStore } from '../store.js';
import { type TarEntry, TarReader } from '../tar.js';
import { formatLayerEntry, LAYER_INDEX_HEADER } from './layer-entry.js';

const PAGE = 4096;
/** PATH_MAX of Linux. */
const PATH_LIMIT = 4096;
const ID_LIMIT = 0xffffffff;
const MAJOR_LIMIT = 0xfff;
const MINOR_LIMIT = 0xfffff;

/** The overlay above the image would take these for its own. */
const OVERLAY_XATTRS = 'trusted.overlay.';

/** What one layer may have at most: an archive of a few kilobytes can unpack to terabytes. */
export interface LayerLimits {
  readonly entries: number;
  /** Bytes of the archive, unpacked. */
  readonly bytes: number;
}

/** More than any image in use. */
export const LAYER_LIMITS: LayerLimits = { entries: 1_000_000, bytes: 64 * 2 ** 30 };

/** Bytes of an index, which is read as one text: long names and attributes make it grow. */
const INDEX_LIMIT = 256 << 20;

/** A layer in the store. */
export interface StoredLayer {
  /** SHA-256 of the archive, unpacked: `sha256:` and 64 digits. */
  readonly diffId: string;
  readonly index: ObjectReference;
  /** None when no file has bytes. */
  readonly data?: ObjectReference;
}

function invalid(entry: TarEntry, what: string): PandoError {
  const name = JSON.stringify(displayName(entry.name));
  return new PandoError('LAYER_ENTRY_INVALID', `layer entry ${name}: ${what}`, {
    remedy: 'the image was built wrong: build it again',
  });
}

/** Refuses what no file system of Linux could hold. */
function checkEntry(entry: TarEntry): void {
  const { name, linkName, uid, gid, major, minor, kind } = entry;
  if (name.length > PATH_LIMIT || linkName.length > PATH_LIMIT) {
    throw invalid(entry, `a path of more than ${PATH_LIMIT} bytes`);
  }
  if (/\0/.test(name + linkName)) throw invalid(entry, 'a path with a NUL');
  for (const id of [uid, gid]) {
    if (id < 0 || id > ID_LIMIT) throw invalid(entry, `owner ${id}`);
  }
  const device = kind === 'character' || kind === 'block';
  if (device && (major < 0 || major > MAJOR_LIMIT || minor < 0 || minor > MINOR_LIMIT)) {
    throw invalid(entry, `device number ${major}:${minor}`);
  }
}

/** The stream's bytes, counted and hashed as they pass. */
class Measured {
  readonly hash = createHash('sha256');
  private count = 0;

  constructor(
    private readonly stream: AsyncIterable<Uint8Array>,
    private readonly limit: number,
  ) {}

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for await (const piece of this.stream) {
      this.count += piece.length;
      if (this.count > this.limit) {
        throw new PandoError('LAYER_TOO_LARGE', `a layer unpacks to more than ${this.limit} bytes`);
      }
      this.hash.update(piece);
      yield piece;
    }
  }
}

/** A layer that is being stored, entry by entry. `finish` or `abort` it. */
export class LayerWriter {
  private entries = 0;

  private constructor(
    private readonly store: ImageStore,
    private readonly limits: LayerLimits,
    private readonly data: ObjectWriter,
    private readonly index: ObjectWriter,
  ) {}

  /** @throws PandoError STORE_WRITE_FAILED, DIRECTORY_NOT_WRITABLE */
  static async open(store: ImageStore, limits: LayerLimits = LAYER_LIMITS): Promise<LayerWriter> {
    const data = await store.create();
    const index = await store.create().catch(async (cause) => {
      await data.abort();
      throw cause;
    });
    const writer = new LayerWriter(store, limits, data, index);
    try {
      await index.write(Buffer.from(LAYER_INDEX_HEADER));
    } catch (cause) {
      await writer.abort();
      throw cause;
    }
    return writer;
  }

  /**
   * @param contents the bytes of a file: as many as `entry.size` says
   * @throws PandoError LAYER_ENTRY_INVALID, LAYER_TOO_LARGE, STORE_WRITE_FAILED, and what `contents` throws
   */
  async add(
    entry: TarEntry,
    contents: AsyncIterable<Uint8Array> | Iterable<Uint8Array> = [],
  ): Promise<void> {
    if (++this.entries > this.limits.entries) {
      throw new PandoError(
        'LAYER_TOO_LARGE',
        `a layer has more than ${this.limits.entries} entries`,
      );
    }
    checkEntry(entry);
    const dataOffset = await this.content(entry.size, contents);
    const kept = [...entry.xattrs].filter(
      ([name]) => isStorableXattr(name) && !name.startsWith(OVERLAY_XATTRS),
    );
    const line = formatLayerEntry({ ...entry, xattrs: new Map(kept), dataOffset });
    await this.index.write(Buffer.from(line));
    if (this.index.size > INDEX_LIMIT) {
      throw new PandoError(
        'LAYER_TOO_LARGE',
        `a layer's names and attributes have more than ${INDEX_LIMIT} bytes`,
      );
    }
  }

  /** Copies one entry's content into the data blob; returns where it begins. */
  private async content(
    size: number,
    contents: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): Promise<number> {
    if (size === 0) return 0;
    const offset = this.data.size;
    for await (const piece of contents) await this.data.write(piece);
    await this.data.write(new Uint8Array(-size & (PAGE - 1)));
    return offset;
  }

  async finish(): Promise<Pick<StoredLayer, 'index' | 'data'>> {
    const index = await this.store.adopt(this.index);
    if (this.data.size > 0) return { index, data: await this.store.adopt(this.data) };
    await this.data.abort();
    return { index };
  }

  /** Also after a failure of `finish`. */
  async abort(): Promise<void> {
    await Promise.allSettled([this.data.abort(), this.index.abort()]);
  }
}

/**
 * Stores a layer.
 * @param stream the archive, not compressed; read to its end
 * @throws PandoError TAR_MALFORMED, TAR_UNSUPPORTED, LAYER_ENTRY_INVALID, LAYER_TOO_LARGE,
 *   STORE_WRITE_FAILED, and what the stream throws
 */
export async function storeLayer(
  stream: AsyncIterable<Uint8Array>,
  store: ImageStore,
  limits: LayerLimits = LAYER_LIMITS,
): Promise<StoredLayer> {
  const measured = new Measured(stream, limits.bytes);
  const reader = new TarReader(measured);
  const writer = await LayerWriter.open(store, limits);
  try {
    for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
      await writer.add(entry, reader.contents());
    }
    await reader.drain();
    const diffId = `sha256:${measured.hash.digest('hex')}`;
    return { diffId, ...(await writer.finish()) };
  } catch (cause) {
    await Promise.allSettled([reader.stop(), writer.abort()]);
    throw cause;
  }
}
