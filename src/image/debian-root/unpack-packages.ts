/**
 * Debian packages as one layer of an image: their files where a system with a merged /usr has them, and
 * dpkg's database. Nothing of them is run here.
 */
import { type PackageArchive, readPackageEntries } from '../deb.js';
import { LayerWriter, type StoredLayer } from '../oci/layer.js';
import type { ProgressSink } from '../progress.js';
import type { ImageStore } from '../store.js';
import type { TarEntry } from '../tar.js';
import {
  type ControlFile,
  conffilePaths,
  databaseName,
  dpkgDatabase,
  md5,
  type UnpackedPackage,
} from './dpkg-database.js';

/** What a merged /usr has in place of these is a symbolic link (hier(7)). */
const MERGED = ['bin', 'lib', 'lib64', 'sbin'];
/** A control archive is scripts and lists. */
const CONTROL_LIMIT = 16 << 20;

const BASE = {
  linkName: '',
  permissions: 0o755,
  ...{ uid: 0, gid: 0, mtime: 0, mtimeNanoseconds: 0, size: 0, major: 0, minor: 0, offset: 0 },
  xattrs: new Map<string, Uint8Array>(),
};

/** Files that a machine has and no package brings. */
const OWN_FILES: readonly (readonly [path: string, text: string])[] = [
  ['etc/hostname', 'pando\n'],
  ['etc/hosts', '127.0.0.1\tlocalhost pando\n::1\tlocalhost ip6-localhost ip6-loopback\n'],
];

/** A package's path without `./`, below usr where /usr is merged. */
export function mergedPath(name: string): string {
  const path = name.replace(/^(\.?\/)+/, '').replace(/^\.$/, '');
  const [first = ''] = path.split('/');
  return MERGED.includes(first) ? `usr/${path}` : path;
}

async function collect(contents: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of contents) pieces.push(piece);
  return Buffer.concat(pieces);
}

async function readControl(file: string): Promise<Map<string, ControlFile>> {
  const control = new Map<string, ControlFile>();
  const archive: PackageArchive = '--ctrl-tarfile';
  await readPackageEntries(file, archive, async ({ kind, name, size, permissions }, contents) => {
    if (kind !== 'file' || size > CONTROL_LIMIT) return;
    control.set(name.replace(/^\.\//, ''), { permissions, bytes: await collect(contents) });
  });
  return control;
}

/** The layer while packages are added to it. */
class Unpacking {
  /** Directories that the layer has: the first package that has one says what it is like. */
  private readonly directories = new Set<string>();

  constructor(private readonly layer: LayerWriter) {}

  async addBase(): Promise<void> {
    for (const name of MERGED) {
      const usr = `usr/${name}`;
      await this.layer.add({ ...BASE, kind: 'directory', name: usr });
      this.directories.add(usr);
      await this.layer.add({ ...BASE, kind: 'symlink', name, linkName: usr, permissions: 0o777 });
    }
  }

  async addFile(name: string, permissions: number, bytes: Uint8Array): Promise<void> {
    const entry = { ...BASE, kind: 'file', name, permissions, size: bytes.length } as const;
    await this.layer.add(entry, [bytes]);
  }

  async addPackage(file: string): Promise<UnpackedPackage> {
    const control = await readControl(file);
    const listed = conffilePaths(Buffer.from(control.get('conffiles')?.bytes ?? []).toString());
    const wanted = new Set(listed);
    const paths: string[] = [];
    const conffiles = new Map<string, string>();
    await readPackageEntries(file, '--fsys-tarfile', async (entry, contents) => {
      const path = entry.name.replace(/^\.\/?/, '');
      paths.push(path === '' ? '/.' : `/${path}`);
      if (!wanted.has(`/${path}`) || entry.kind !== 'file') return this.addEntry(entry, contents);
      const bytes = await collect(contents);
      conffiles.set(`/${path}`, md5(bytes));
      await this.addEntry(entry, [bytes]);
    });
    return { control, paths, conffiles };
  }

  private async addEntry(
    entry: TarEntry,
    contents: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): Promise<void> {
    // A link that merges /usr is there already.
    if (entry.kind === 'symlink' && MERGED.includes(entry.name.replace(/^\.\//, ''))) return;
    const name = mergedPath(entry.name);
    if (entry.kind === 'directory') {
      if (this.directories.has(name)) return;
      this.directories.add(name);
    }
    const linkName = entry.kind === 'link' ? mergedPath(entry.linkName) : entry.linkName;
    await this.layer.add({ ...entry, name, linkName }, contents);
  }
}

/** What became of the packages. */
export interface UnpackedLayer {
  readonly layer: Pick<StoredLayer, 'index' | 'data'>;
  /** As dpkg's database names them, in the order given. */
  readonly names: readonly string[];
}

/**
 * Stores packages as a layer.
 * @param files of the packages, in the order of their installation
 * @throws PandoError PACKAGE_MALFORMED, TAR_*, LAYER_*, STORE_WRITE_FAILED, TOOL_MISSING
 */
export async function unpackPackages(
  files: readonly string[],
  store: ImageStore,
  progress: ProgressSink,
): Promise<UnpackedLayer> {
  const layer = await LayerWriter.open(store);
  try {
    const unpacking = new Unpacking(layer);
    await unpacking.addBase();
    const packages: UnpackedPackage[] = [];
    for (const file of files) {
      progress('unpacking packages', packages.length / files.length);
      packages.push(await unpacking.addPackage(file));
    }
    for (const { path, permissions, bytes } of dpkgDatabase(packages)) {
      await unpacking.addFile(path, permissions, bytes);
    }
    for (const [path, text] of OWN_FILES) await unpacking.addFile(path, 0o644, Buffer.from(text));
    return { layer: await layer.finish(), names: packages.map(databaseName) };
  } catch (cause) {
    await layer.abort();
    throw cause;
  }
}
