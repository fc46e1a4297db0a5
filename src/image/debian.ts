/**
 * Makes an image of a Debian kernel package and Debian's static busybox, both from the package
 * sources of this host.
 */

import { PandoError } from '../error.js';
import { writeCpio } from '../loader/cpio-writer.js';
import { agentEntries } from './agent.js';
import { Apt, type PackageRecord } from './apt.js';
import { readPackageFile, readPackageFiles } from './deb.js';
import { cacheDirectory } from './directories.js';
import { registerStore } from './downloads.js';
import { ownPartsDigest } from './init-script.js';
import { initrdEntries, listApplets } from './initrd.js';
import { prepareKernel } from './kernel-file.js';
import { isModule, KernelModules, MODULE_LIMIT } from './kernel-modules.js';
import type { ObjectReference, PackageProvenance, RootFileSystem } from './manifest.js';
import { checkImageName, DEFAULT_COMMAND_LINE, DEFAULT_IMAGE_NAME } from './manifest.js';
import { type ProgressSink, silent } from './progress.js';
import { type Image, ImageStore, sha256 } from './store.js';
import type { TarFile } from './tar.js';

/** A metapackage: it depends on the current kernel. */
export const DEFAULT_KERNEL_PACKAGE = 'linux-image-cloud-amd64';
const BUSYBOX_PACKAGE = 'busybox-static';

/** A kernel of a distribution has about 12 MB; more than this is none. */
const KERNEL_FILE_LIMIT = 256 * 1024 * 1024;
const BUSYBOX_LIMIT = 16 * 1024 * 1024;

/** A metapackage leads to a kernel in one step; more than a few are a circle. */
const METAPACKAGE_DEPTH = 4;

/** How to pull. */
export interface PullOptions {
  /** Any package with a file boot/vmlinuz-*, or a metapackage of one. */
  readonly kernelPackage?: string;
  /** Name of the image; default `debian`. */
  readonly name?: string;
  readonly store?: ImageStore;
  /** Folder of downloads; default `pando` under XDG_CACHE_HOME. */
  readonly cache?: string;
  readonly progress?: ProgressSink;
}

/** The dependency of a kernel metapackage, as `name` or `name=version`. */
export function kernelDependency(depends: string): string | undefined {
  for (const alternatives of depends.split(',')) {
    const match = /^\s*(linux-image-[\w.+-]+)(?:\s*\(=\s*([^)\s]+)\s*\))?/.exec(alternatives);
    if (match === null) continue;
    return match[2] === undefined ? match[1] : `${match[1]}=${match[2]}`;
  }
  return undefined;
}

/**
 * Follows metapackages to the package that holds the kernel.
 * @throws PandoError PACKAGE_CYCLE and what Apt.show throws
 */
export async function resolveKernel(
  apt: Pick<Apt, 'show'>,
  selection: string,
): Promise<PackageRecord> {
  let record = await apt.show(selection);
  for (let depth = 0; depth < METAPACKAGE_DEPTH; depth++) {
    const next = kernelDependency(record.depends);
    if (next === undefined) return record;
    record = await apt.show(next);
  }
  throw new PandoError(
    'PACKAGE_CYCLE',
    `package ${selection} leads to no kernel within ${METAPACKAGE_DEPTH} dependencies`,
    { remedy: 'name the kernel package itself, such as linux-image-6.1.0-56-cloud-amd64' },
  );
}

export function provenance(record: PackageRecord): PackageProvenance {
  const { name, version, architecture, sha256: hash, size } = record;
  return { name, version, architecture, sha256: hash, size };
}

/** The kernel of an image that has been made from the same package, when it is undamaged. */
async function storedKernel(
  store: ImageStore,
  name: string,
  record: PackageRecord,
): Promise<PulledKernel | undefined> {
  try {
    const { manifest } = await store.open(name, { verify: true });
    const { kernelFile, kernelFileSha256, packages } = manifest.provenance;
    if (packages[0]?.sha256 !== record.sha256) return undefined;
    if (kernelFile === undefined || kernelFileSha256 === undefined) return undefined;
    if (manifest.modules === undefined || manifest.agent !== ownPartsDigest()) return undefined;
    return { kernel: manifest.kernel, modules: manifest.modules, kernelFile, kernelFileSha256 };
  } catch (cause) {
    if (cause instanceof PandoError) return undefined;
    throw cause;
  }
}

interface PulledKernel {
  readonly kernel: ObjectReference;
  readonly modules: ObjectReference | undefined;
  readonly kernelFile: string;
  readonly kernelFileSha256: string;
}

function isKernel(path: string): boolean {
  return /^boot\/vmlinuz-[^/]+$/.test(path);
}

async function pullKernel(
  apt: Apt,
  store: ImageStore,
  record: PackageRecord,
  progress: ProgressSink,
): Promise<PulledKernel> {
  const file = await apt.download(record);
  progress(`unpacking ${record.name}`);
  const modules = new KernelModules();
  let packed: TarFile | undefined;
  await readPackageFiles(
    file,
    (path) => isKernel(path) || isModule(path),
    Math.max(KERNEL_FILE_LIMIT, MODULE_LIMIT),
    (found) => {
      if (isKernel(found.path)) packed = found;
      else modules.add(found.path, found.bytes);
    },
  );
  if (packed === undefined) {
    throw new PandoError('PACKAGE_FILE_MISSING', `package ${record.name} has no boot/vmlinuz-*`, {
      remedy: 'name a package that contains a kernel, such as linux-image-cloud-amd64',
    });
  }
  const vmlinux = prepareKernel(packed.bytes);
  progress('storing the kernel');
  return {
    kernel: await store.put(vmlinux),
    modules: await store.put(writeCpio([...modules.entries(), ...agentEntries()])),
    kernelFile: packed.path,
    kernelFileSha256: sha256(packed.bytes),
  };
}

async function pullInitrd(
  apt: Apt,
  store: ImageStore,
  record: PackageRecord,
  cache: string,
  progress: ProgressSink,
): Promise<ObjectReference> {
  const file = await apt.download(record);
  progress('building the initrd');
  const { bytes } = await readPackageFile(
    file,
    (path) => /^(usr\/)?bin\/busybox$/.test(path),
    BUSYBOX_LIMIT,
  );
  return store.put(writeCpio(initrdEntries(bytes, await listApplets(bytes, cache))));
}

/** The root file system that an image of this name has already, and the packages in it. */
async function storedRoot(
  store: ImageStore,
  name: string,
): Promise<{ readonly root?: RootFileSystem; readonly packages: readonly PackageProvenance[] }> {
  if (!(await store.names()).includes(name)) return { packages: [] };
  try {
    const { root, provenance: from } = await store.manifest(name);
    // Behind the kernel's and busybox.
    return root === undefined ? { packages: [] } : { root, packages: from.packages.slice(2) };
  } catch (cause) {
    if (cause instanceof PandoError && cause.code === 'MANIFEST_INVALID') return { packages: [] };
    throw cause;
  }
}

/** What pulling works with. */
export interface Pulling {
  readonly apt: Apt;
  readonly store: ImageStore;
  readonly cache: string;
  readonly progress: ProgressSink;
}

/**
 * Lets `work` pull from the machine's package sources.
 * @throws PandoError what Apt.open and `work` throw
 */
export async function withSources<T>(
  options: PullOptions,
  work: (pulling: Pulling) => Promise<T>,
): Promise<T> {
  const { store = new ImageStore(), cache = cacheDirectory(), progress = silent } = options;
  await registerStore(store, cache);
  const apt = await Apt.open(cache, progress);
  try {
    return await work({ apt, store, cache, progress });
  } finally {
    await apt.dispose();
  }
}

/**
 * Makes the image of kernel and busybox; a root file system that an image of that name has stays its.
 * @throws PandoError what Apt, deb, the loader and the store throw
 */
export async function pullBoot(
  { apt, store, cache, progress }: Pulling,
  options: Pick<PullOptions, 'kernelPackage' | 'name'>,
): Promise<Image> {
  const name = checkImageName(options.name ?? DEFAULT_IMAGE_NAME);
  progress('resolving packages');
  const kernelRecord = await resolveKernel(apt, options.kernelPackage ?? DEFAULT_KERNEL_PACKAGE);
  const busyboxRecord = await apt.show(BUSYBOX_PACKAGE);
  const pulled =
    (await storedKernel(store, name, kernelRecord)) ??
    (await pullKernel(apt, store, kernelRecord, progress));
  const initrd = await pullInitrd(apt, store, busyboxRecord, cache, progress);
  const { root, packages } = await storedRoot(store, name);
  return store.commit({
    format: root === undefined ? 1 : 2,
    name,
    created: new Date().toISOString(),
    kernel: pulled.kernel,
    initrd,
    ...(pulled.modules === undefined ? {} : { modules: pulled.modules, agent: ownPartsDigest() }),
    commandLine: DEFAULT_COMMAND_LINE,
    ...(root === undefined ? {} : { root }),
    provenance: {
      kind: 'debian',
      kernelFile: pulled.kernelFile,
      kernelFileSha256: pulled.kernelFileSha256,
      packages: [provenance(kernelRecord), provenance(busyboxRecord), ...packages],
    },
  });
}

/**
 * Gets a kernel and busybox from the host's package sources and makes an image of them. What an
 * earlier pull of the same packages left is used again once its hashes have been checked.
 * @throws PandoError what Apt, deb, the loader and the store throw
 */
export function pullDebian(options: PullOptions = {}): Promise<Image> {
  checkImageName(options.name ?? DEFAULT_IMAGE_NAME);
  return withSources(options, (pulling) => pullBoot(pulling, options));
}
