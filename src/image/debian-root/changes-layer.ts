/**
 * What a guest has changed of its root, as a layer of an image: the upper directory of an overlay in a tar
 * archive. A file that is gone is a character device 0:0 there, a directory that hides the one below has an
 * attribute (Linux, Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories"); in layers
 * both are names (OCI Image Format Specification, layer.md, "Whiteouts").
 */
import { createReadStream } from 'node:fs';
import { LayerWriter, type StoredLayer } from '../oci/layer.js';
import type { ImageStore } from '../store.js';
import { type TarEntry, TarReader } from '../tar.js';

const OPAQUE_XATTR = 'trusted.overlay.opaque';
const OPAQUE_NAME = '.wh..wh..opq';

/** The entries of a layer that an entry of the overlay's upper directory stands for. */
export function layerEntries(entry: TarEntry): TarEntry[] {
  const name = entry.name.replace(/^(\.\/)+/, '');
  const { major, minor } = entry;
  if (entry.kind === 'character' && major === 0 && minor === 0) {
    const cut = name.lastIndexOf('/') + 1;
    const hidden = `${name.slice(0, cut)}.wh.${name.slice(cut)}`;
    return [{ ...entry, kind: 'file', name: hidden, size: 0, xattrs: new Map() }];
  }
  const linkName = entry.kind === 'link' ? entry.linkName.replace(/^(\.\/)+/, '') : entry.linkName;
  const kept = { ...entry, name, linkName };
  const opaque = entry.xattrs.get(OPAQUE_XATTR);
  if (entry.kind !== 'directory' || opaque === undefined) return [kept];
  if (Buffer.from(opaque).toString('latin1') !== 'y') return [kept];
  const mark = { ...entry, kind: 'file', name: `${name}/${OPAQUE_NAME}`, size: 0 } as const;
  return [kept, { ...mark, xattrs: new Map() }];
}

/**
 * Stores the archive that a guest has left.
 * @param archive path of a file that begins with it
 * @throws PandoError TAR_MALFORMED, TAR_UNSUPPORTED, LAYER_*, STORE_WRITE_FAILED
 */
export async function storeChanges(
  archive: string,
  store: ImageStore,
): Promise<Pick<StoredLayer, 'index' | 'data'>> {
  const reader = new TarReader(createReadStream(archive));
  const layer = await LayerWriter.open(store);
  try {
    for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
      for (const each of layerEntries(entry)) await layer.add(each, reader.contents());
    }
    // The disk goes on behind the archive.
    await reader.stop();
    return await layer.finish();
  } catch (cause) {
    await Promise.allSettled([reader.stop(), layer.abort()]);
    throw cause;
  }
}
