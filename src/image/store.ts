/**
 * The image store: immutable objects named by the SHA-256 of their bytes (FIPS 180-4), and one
 * manifest per image that refers to them.
 *
 *     objects/<sha256>       mode 0444; never written after it got its name
 *     manifests/<name>.json  replaced as a whole
 *     files/, known/         files that were given by path (file-cache.ts); may go at any time
 *     profiles/<sha256>      what became hot in boots of that kernel; may go at any time
 *     deduplicated/<sha256>-…  deduplicated pages of that kernel's guests; may go at any time
 *     layers/<digest>        which objects a layer of an OCI image became; may go at any time
 *     temporary/             what is being written; cleaned by age
 *
 * There is no lock. Two processes that fill the store write the same object twice and one of the two
 * names stays. A running VM has its object mapped: taking the name away leaves its bytes to it.
 */
import { createHash } from 'node:crypto';
import { createReadStream, readFileSync } from 'node:fs';
import { link, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { PandoError } from '../error.js';
import { coded } from '../system-error.js';
import {
  isHalfWritten,
  publishNew,
  publishReplacing,
  type RemovedFile,
  removeFiles,
  removeStale,
  STALE_AFTER_MS,
  temporaryName,
  writeTemporary,
} from './atomic-file.js';
import { makeDirectory, storeDirectory } from './directories.js';
import {
  type ContainerConfig,
  checkImageName,
  formatManifest,
  hashesIn,
  type KernelManifest,
  type Manifest,
  type ObjectReference,
  objectsOf,
  type Provenance,
  parseManifest,
} from './manifest.js';
import { ObjectWriter } from './object-writer.js';
import { HASH_DIGITS, type StoreFolders, storeFolders } from './store-folders.js';

/** An image that is ready to boot. */
export interface Image {
  readonly name: string;
  /** The vmlinux; immutable, so it may be mapped. */
  readonly kernelPath: string;
  /** The initrd, when the image has one; immutable. */
  readonly initrdPath: string | undefined;
  /** The kernel's modules, when the image has them; immutable. */
  readonly modulesPath: string | undefined;
  readonly commandLine: string;
  readonly provenance: Provenance;
  readonly manifest: KernelManifest;
}

/** A root file system that is ready to be a guest's. */
export interface RootImage {
  readonly name: string;
  /** Files whose bytes, one behind the other, are an EROFS image; immutable, whole pages each. */
  readonly paths: readonly string[];
  /** Bytes of all of them. */
  readonly bytes: number;
  readonly config: ContainerConfig;
  readonly manifest: Manifest;
}

/** What `remove` and `prune` did. */
export interface Removal {
  /** Objects that no other image needed. */
  readonly objects: readonly ObjectReference[];
  /** Copies of files that were given by path. */
  readonly files: readonly RemovedFile[];
  /** Profiles and deduplicated pages of kernels that the store does not have any more. */
  readonly profiles: readonly RemovedFile[];
}

const MANIFEST_SUFFIX = '.json';
/** A file that was used in the last minute may be about to be mapped. */
const IN_USE_MS = 60_000;

/** SHA-256 of bytes in memory, as 64 hexadecimal digits. */
export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** SHA-256 of a file, read in pieces. */
export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path, { highWaterMark: 1 << 20 })) {
    hash.update(piece as Uint8Array);
  }
  return hash.digest('hex');
}

function isMissing(cause: unknown): boolean {
  return (cause as NodeJS.ErrnoException).code === 'ENOENT';
}

/** One store; cheap to make, holds nothing open. */
export class ImageStore {
  private readonly folders: StoreFolders;

  /** @param folder made when something is first written */
  constructor(readonly folder: string = storeDirectory()) {
    this.folders = storeFolders(folder);
  }

  /** Makes the folders and deletes what dead processes left behind. */
  private async prepare(): Promise<void> {
    const { objects, manifests, temporary } = this.folders;
    for (const path of [objects, manifests, temporary]) {
      await makeDirectory(path, 'PANDO_STORE');
    }
    await removeStale(temporary);
  }

  /** Where an object is, or would be. */
  objectPath(reference: ObjectReference): string {
    return join(this.folders.objects, reference.sha256);
  }

  /**
   * Stores bytes. An equal object that is there already is checked and kept; a damaged one is
   * replaced, and VMs that have it mapped keep what they have.
   * @throws PandoError STORE_WRITE_FAILED, DIRECTORY_NOT_WRITABLE
   */
  async put(bytes: Uint8Array): Promise<ObjectReference> {
    const reference = { sha256: sha256(bytes), size: bytes.length };
    await this.prepare();
    const path = this.objectPath(reference);
    const state = await this.objectState(reference, true);
    if (state === 'intact') {
      // A fresh time tells a sweep in another process that the object is about to be referred to.
      await utimes(path, new Date(), new Date());
      return reference;
    }
    const written = await writeTemporary(this.folders.temporary, bytes, 0o444);
    if (state === 'missing') await publishNew(written, path);
    else await publishReplacing(written, path);
    return reference;
  }

  /**
   * Begins an object that is too large for memory; give it to `adopt` or abort it.
   * @throws PandoError STORE_WRITE_FAILED, DIRECTORY_NOT_WRITABLE
   */
  async create(): Promise<ObjectWriter> {
    await this.prepare();
    return ObjectWriter.open(temporaryName(this.folders.temporary));
  }

  /**
   * Stores what was written, as `put` does with bytes.
   * @throws PandoError STORE_WRITE_FAILED
   */
  async adopt(writer: ObjectWriter): Promise<ObjectReference> {
    const reference = await writer.finish();
    const path = this.objectPath(reference);
    const state = await this.objectState(reference, true);
    if (state === 'missing') await publishNew(writer.path, path);
    else if (state === 'damaged') await publishReplacing(writer.path, path);
    else {
      await rm(writer.path, { force: true });
      await utimes(path, new Date(), new Date());
    }
    return reference;
  }

  /** Whether an undamaged object is there; sweeps then leave it for the next hour. */
  async keep(reference: ObjectReference): Promise<boolean> {
    if ((await this.objectState(reference, true)) !== 'intact') return false;
    await utimes(this.objectPath(reference), new Date(), new Date());
    return true;
  }

  /** Compares an object with its reference; reads it whole only when `hash` is set. */
  private async objectState(
    reference: ObjectReference,
    hash: boolean,
  ): Promise<'intact' | 'missing' | 'damaged'> {
    const path = this.objectPath(reference);
    try {
      const found = await stat(path);
      if (!found.isFile() || found.size !== reference.size) return 'damaged';
      return hash && (await sha256OfFile(path)) !== reference.sha256 ? 'damaged' : 'intact';
    } catch (cause) {
      if (isMissing(cause)) return 'missing';
      throw coded(cause);
    }
  }

  /**
   * Gives an image its manifest, in place of an older one of that name.
   * @throws PandoError OBJECT_MISSING when another process removed one of its objects meanwhile
   */
  async commit(manifest: KernelManifest): Promise<Image> {
    await this.commitManifest(manifest);
    return this.open(manifest.name);
  }

  /**
   * The same for an image that need not have a kernel.
   * @throws PandoError as `commit` does
   */
  async commitManifest(manifest: Manifest): Promise<void> {
    checkImageName(manifest.name);
    await this.prepare();
    const replaced = (await this.names()).includes(manifest.name)
      ? await this.objectsOf(manifest.name)
      : [];
    const bytes = new TextEncoder().encode(formatManifest(manifest));
    const written = await writeTemporary(this.folders.temporary, bytes, 0o644);
    await publishReplacing(written, this.manifestPath(manifest.name));
    await this.checkObjects(manifest, false);
    await this.discardAll(replaced);
  }

  private manifestPath(name: string): string {
    return join(this.folders.manifests, name + MANIFEST_SUFFIX);
  }

  /**
   * Reads an image's manifest.
   * @throws PandoError IMAGE_NOT_FOUND, IMAGE_NAME_INVALID, MANIFEST_INVALID, MANIFEST_TOO_NEW
   */
  async manifest(name: string): Promise<Manifest> {
    return parseManifest(this.manifestPath(name), await this.manifestText(name));
  }

  /** @throws PandoError IMAGE_NOT_FOUND, IMAGE_NAME_INVALID */
  private async manifestText(name: string): Promise<string> {
    try {
      // Some KiB: a thread pool would take milliseconds of each start.
      return readFileSync(this.manifestPath(checkImageName(name)), 'utf8');
    } catch (cause) {
      if (!isMissing(cause)) throw coded(cause);
      throw new PandoError('IMAGE_NOT_FOUND', `no image ${name} in ${this.folder}`, {
        remedy: '`pando image ls` lists the images, `pando image pull debian` gets one',
      });
    }
  }

  /** @throws PandoError OBJECT_MISSING, OBJECT_DAMAGED */
  private async checkObjects(manifest: Manifest, verify: boolean): Promise<void> {
    const { name, provenance } = manifest;
    for (const reference of objectsOf(manifest)) {
      const state = await this.objectState(reference, verify);
      if (state === 'intact') continue;
      const again = {
        debian: `pull debian --name ${name}`,
        import: `import ${name} --kernel …`,
        oci: `pull ${provenance.reference ?? ''} --name ${name}`,
      }[provenance.kind];
      throw new PandoError(
        state === 'missing' ? 'OBJECT_MISSING' : 'OBJECT_DAMAGED',
        `image ${name}: object ${reference.sha256} of ${reference.size} bytes is ${state}`,
        { remedy: `\`pando image ${again}\` puts it right` },
      );
    }
  }

  /**
   * Opens an image: its objects are there and have their size; with `verify` their bytes are hashed.
   * @throws PandoError IMAGE_NOT_FOUND, IMAGE_WITHOUT_KERNEL, OBJECT_MISSING, OBJECT_DAMAGED,
   *   MANIFEST_INVALID
   */
  async open(name: string, options: { readonly verify?: boolean } = {}): Promise<Image> {
    const manifest = await this.manifest(name);
    await this.checkObjects(manifest, options.verify === true);
    const { kernel } = manifest;
    if (kernel === undefined) {
      throw new PandoError('IMAGE_WITHOUT_KERNEL', `image ${name} has a root file system only`, {
        remedy: 'boot an image with a kernel, such as debian',
      });
    }
    return {
      name,
      kernelPath: this.objectPath(kernel),
      initrdPath: manifest.initrd && this.objectPath(manifest.initrd),
      modulesPath: manifest.modules && this.objectPath(manifest.modules),
      commandLine: manifest.commandLine,
      provenance: manifest.provenance,
      manifest: { ...manifest, kernel },
    };
  }

  /**
   * Opens an image's root file system, as `open` does.
   * @throws PandoError IMAGE_NOT_FOUND, IMAGE_WITHOUT_ROOT, OBJECT_MISSING, OBJECT_DAMAGED,
   *   MANIFEST_INVALID
   */
  async openRoot(name: string, options: { readonly verify?: boolean } = {}): Promise<RootImage> {
    const manifest = await this.manifest(name);
    await this.checkObjects(manifest, options.verify === true);
    const { root } = manifest;
    if (root === undefined) {
      throw new PandoError('IMAGE_WITHOUT_ROOT', `image ${name} has no root file system`, {
        remedy: 'pull one with `pando image pull REGISTRY/NAME:TAG`',
      });
    }
    const parts = [root.metadata, ...root.data];
    const paths = parts.map((part) => this.objectPath(part));
    const bytes = parts.reduce((total, { size }) => total + size, 0);
    return { name, paths, bytes, config: root.config, manifest };
  }

  /** Names of all images, sorted. */
  async names(): Promise<string[]> {
    try {
      const files = await readdir(this.folders.manifests);
      return files
        .filter((file) => file.endsWith(MANIFEST_SUFFIX))
        .map((file) => file.slice(0, -MANIFEST_SUFFIX.length))
        .sort();
    } catch (cause) {
      if (isMissing(cause)) return [];
      throw coded(cause);
    }
  }

  /**
   * SHA-256 of everything that images refer to, objects and packages. Of a manifest that this version
   * cannot read, whatever looks like one: what a newer version needs must stay.
   */
  async referenced(): Promise<Set<string>> {
    const hashes = new Set<string>();
    for (const name of await this.names()) {
      // Another process may have removed the image meanwhile.
      const text = await this.manifestText(name).catch((cause: unknown) => {
        if (cause instanceof PandoError && cause.code === 'IMAGE_NOT_FOUND') return '';
        throw cause;
      });
      for (const hash of hashesIn(text)) hashes.add(hash);
    }
    return hashes;
  }

  /**
   * Removes an image and those of its objects that no other image needs. Running VMs keep theirs.
   * @throws PandoError IMAGE_NOT_FOUND
   */
  async remove(name: string): Promise<Removal> {
    const path = this.manifestPath(checkImageName(name));
    const own = await this.objectsOf(name);
    await rm(path, { force: true });
    await this.prepare();
    const objects = [...(await this.discardAll(own)), ...(await this.sweep())];
    return { objects, files: [], profiles: await this.sweepProfiles() };
  }

  /**
   * Takes away what no image needs: what interrupted pulls, replaced kernels and old cores left, and copies
   * of files that were given by path.
   */
  async prune(): Promise<Removal> {
    await this.prepare();
    const objects = await this.sweep();
    const files = await removeFiles(this.folders.files, (_, age) => age > IN_USE_MS);
    await removeFiles(this.folders.known, (_, age) => age > IN_USE_MS);
    return { objects, files, profiles: await this.sweepProfiles() };
  }

  /**
   * Deletes what was kept of boots of kernels that the store does not have, and what a dead process left
   * half written. Files have the kernel's hash as the beginning of their name.
   */
  private async sweepProfiles(): Promise<RemovedFile[]> {
    const kept = await readdir(this.folders.files).catch(() => []);
    const wanted = new Set([...(await this.referenced()), ...kept]);
    const unwanted = (name: string, age: number): boolean => {
      if (!wanted.has(name.slice(0, HASH_DIGITS))) return true;
      return isHalfWritten(name, age);
    };
    await removeFiles(
      this.folders.layers,
      (name, age) => age > STALE_AFTER_MS && !wanted.has(name.slice(0, HASH_DIGITS)),
    );
    const profiles = await removeFiles(this.folders.profiles, unwanted);
    return [...profiles, ...(await removeFiles(this.folders.deduplicated, unwanted))];
  }

  /** The objects that an image's manifest mentions, in whatever format. */
  private async objectsOf(name: string): Promise<ObjectReference[]> {
    const objects: ObjectReference[] = [];
    for (const hash of new Set(hashesIn(await this.manifestText(name)))) {
      const found = await stat(this.objectPath({ sha256: hash, size: 0 })).catch(() => undefined);
      if (found !== undefined) objects.push({ sha256: hash, size: found.size });
    }
    return objects;
  }

  /** Takes away old objects that no image refers to: what interrupted pulls left behind. */
  private async sweep(): Promise<ObjectReference[]> {
    const old: ObjectReference[] = [];
    for (const name of await readdir(this.folders.objects)) {
      const found = await stat(join(this.folders.objects, name)).catch(() => undefined);
      if (found === undefined || Date.now() - found.mtimeMs < STALE_AFTER_MS) continue;
      old.push({ sha256: name, size: found.size });
    }
    return this.discardAll(old);
  }

  private async discardAll(references: readonly ObjectReference[]): Promise<ObjectReference[]> {
    const removed: ObjectReference[] = [];
    for (const reference of references) {
      if (await this.discard(reference)) removed.push(reference);
    }
    return removed;
  }

  /**
   * Takes an object away unless an image refers to it. It is set aside first and looked for again:
   * a process that commits meanwhile either sees that it is gone or is seen here.
   */
  private async discard(reference: ObjectReference): Promise<boolean> {
    if ((await this.referenced()).has(reference.sha256)) return false;
    const path = this.objectPath(reference);
    const aside = temporaryName(this.folders.temporary);
    try {
      await rename(path, aside);
    } catch (cause) {
      if (isMissing(cause)) return false;
      throw coded(cause);
    }
    const wanted = (await this.referenced()).has(reference.sha256);
    if (wanted) {
      await link(aside, path).catch((cause: NodeJS.ErrnoException) => {
        if (cause.code !== 'EEXIST') throw cause;
      });
    }
    await rm(aside, { force: true });
    return !wanted;
  }
}
