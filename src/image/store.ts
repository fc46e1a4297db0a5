/**
 * The image store: immutable objects named by the SHA-256 of their bytes (FIPS 180-4), and one
 * manifest per image that refers to them.
 *
 *     objects/<sha256>       mode 0444; never written after it got its name
 *     manifests/<name>.json  replaced as a whole
 *     files/, known/         files that were given by path (file-cache.ts); may go at any time
 *     profiles/<sha256>      what became hot in boots of that kernel; may go at any time
 *     booted/<sha256>-…      pages that guests of that kernel have alike; may go at any time
 *     temporary/             what is being written; cleaned by age
 *
 * There is no lock. Two processes that fill the store write the same object twice and one of the two
 * names stays. A running VM has its object mapped: taking the name away leaves its bytes to it.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { link, readdir, readFile, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { PandoError } from '../error.js';
import {
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
  checkImageName,
  formatManifest,
  hashesIn,
  type Manifest,
  type ObjectReference,
  type Provenance,
  parseManifest,
} from './manifest.js';
import { HASH_DIGITS, type StoreFolders, storeFolders } from './store-folders.js';

/** An image that is ready to boot. */
export interface Image {
  readonly name: string;
  /** The vmlinux; immutable, so it may be mapped. */
  readonly kernelPath: string;
  /** The initrd, when the image has one; immutable. */
  readonly initrdPath: string | undefined;
  readonly commandLine: string;
  readonly provenance: Provenance;
  readonly manifest: Manifest;
}

/** What `remove` and `prune` did. */
export interface Removal {
  /** Objects that no other image needed. */
  readonly objects: readonly ObjectReference[];
  /** Copies of files that were given by path. */
  readonly files: readonly RemovedFile[];
  /** Profiles and booted pages of kernels that the store does not have any more. */
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
      throw cause;
    }
  }

  /**
   * Gives an image its manifest, in place of an older one of that name.
   * @throws PandoError OBJECT_MISSING when another process removed one of its objects meanwhile
   */
  async commit(manifest: Manifest): Promise<Image> {
    checkImageName(manifest.name);
    await this.prepare();
    const replaced = (await this.names()).includes(manifest.name)
      ? await this.objectsOf(manifest.name)
      : [];
    const bytes = new TextEncoder().encode(formatManifest(manifest));
    const written = await writeTemporary(this.folders.temporary, bytes, 0o644);
    await publishReplacing(written, this.manifestPath(manifest.name));
    const image = await this.open(manifest.name);
    await this.discardAll(replaced);
    return image;
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
      return await readFile(this.manifestPath(checkImageName(name)), 'utf8');
    } catch (cause) {
      if (!isMissing(cause)) throw cause;
      throw new PandoError('IMAGE_NOT_FOUND', `no image ${name} in ${this.folder}`, {
        remedy: '`pando image ls` lists the images, `pando image pull debian` gets one',
      });
    }
  }

  /**
   * Opens an image: its objects are there and have their size; with `verify` their bytes are hashed.
   * @throws PandoError IMAGE_NOT_FOUND, OBJECT_MISSING, OBJECT_DAMAGED, MANIFEST_INVALID
   */
  async open(name: string, options: { readonly verify?: boolean } = {}): Promise<Image> {
    const manifest = await this.manifest(name);
    for (const part of ['kernel', 'initrd'] as const) {
      const reference = manifest[part];
      if (reference === undefined) continue;
      const state = await this.objectState(reference, options.verify === true);
      if (state === 'intact') continue;
      const remedy =
        manifest.provenance.kind === 'debian'
          ? `\`pando image pull debian --name ${name}\` puts it right`
          : `\`pando image import ${name} --kernel …\` puts it right`;
      throw new PandoError(
        state === 'missing' ? 'OBJECT_MISSING' : 'OBJECT_DAMAGED',
        `image ${name}: ${part} object ${reference.sha256} of ${reference.size} bytes is ${state}`,
        { remedy },
      );
    }
    return {
      name,
      kernelPath: this.objectPath(manifest.kernel),
      initrdPath: manifest.initrd && this.objectPath(manifest.initrd),
      commandLine: manifest.commandLine,
      provenance: manifest.provenance,
      manifest,
    };
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
      throw cause;
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
        if (cause instanceof PandoError) return '';
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
      // One that is being written has a suffix.
      return name.includes('.') && age > STALE_AFTER_MS;
    };
    const profiles = await removeFiles(this.folders.profiles, unwanted);
    return [...profiles, ...(await removeFiles(this.folders.booted, unwanted))];
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
      throw cause;
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
