/**
 * A kernel or an initrd, opened once, in a form that can be mapped and that nobody changes:
 *
 * - an object of an image store, or a file that a store keeps: itself;
 * - another file: the store keeps a copy by its content (image/file-cache.ts), made when the file is first
 *   seen; a kernel is unpacked and laid out in pages for it;
 * - where the store cannot be written: a sealed copy in memory.
 *
 * What boots leave for later ones hangs on the content, wherever it came from (boot-gains.ts).
 */
import { createHash } from 'node:crypto';
import { PandoError } from '../error.js';
import { FileCache, type Fill } from '../image/file-cache.js';
import { type StoredContent, storedContent } from '../image/store-folders.js';
import { FileSource } from '../loader/byte-source.js';
import { planElf } from '../loader/elf-plan.js';
import { relayoutElf } from '../loader/elf-relayout.js';
import { openKernel } from '../loader/open-kernel.js';
import type { KernelPlan } from '../loader/plan.js';
import type { ImageFile } from '../memory/place-images.js';
import { isSealedFile, sealedCopy } from '../memory/seal-image.js';

/** An open file of a boot. */
export interface BootFile extends ImageFile {
  /** Where another process of the same user opens the same content. */
  readonly path: string;
  /** What the file contains, and the store for what boots of it leave; undefined for a copy in memory. */
  readonly content: StoredContent | undefined;
  /** VMs keep what they have mapped. */
  close(): void;
}

/** A kernel's file and what is placed of it. */
export interface KernelFile extends BootFile {
  readonly plan: KernelPlan;
}

/** Bytes that are read at a time. */
const CHUNK = 1 << 22;
/** A kernel that is not the store's is read whole, by one call (read(2) takes 2 GiB at most). */
const KERNEL_LIMIT = 2 ** 30;

/**
 * @param immutable the user says that nobody changes the file: an ELF kernel is mapped as it is
 * @param check looks at what is placed before anything is copied
 * @throws PandoError FILE_NOT_FOUND, FILE_UNREADABLE, FILE_NOT_REGULAR, FILE_CHANGED, KERNEL_TOO_LARGE,
 * IMAGE_COPY_FAILED, and what `openKernel` and `check` throw
 */
export function openKernelFile(
  path: string,
  immutable: boolean,
  check: (plan: KernelPlan) => void,
): KernelFile {
  return usingSource(path, (source, keepOpen) => {
    const stored = storedContent(path);
    const asItIs = stored !== undefined || immutable || isSealedFile(source.fd);
    const key = asItIs ? '' : `kernel ${source.identify()}`;
    const known = asItIs ? undefined : new FileCache().find(key);
    if (known !== undefined) return planned(keptFile(path, known.path), check);
    const opened = openKernel(source);
    check(opened.plan);
    if (asItIs && opened.format === 'elf') {
      const content = stored ?? contentOf(source);
      return { ...keepOpen(content), plan: opened.plan };
    }
    if (source.size > KERNEL_LIMIT) {
      const message = `${path} has ${source.size} bytes, the limit of a kernel is ${KERNEL_LIMIT}`;
      throw new PandoError('KERNEL_TOO_LARGE', message, {
        remedy: 'take its debugging information out (strip --strip-debug)',
      });
    }
    const file = copied(source, key || `kernel ${source.identify()}`, (write) => {
      const vmlinux = relayoutElf(opened.elf.read(0, opened.elf.size));
      source.checkUnchanged();
      write(vmlinux);
    });
    return planned(file, check);
  });
}

/**
 * @param check looks at the size before anything is copied
 * @throws PandoError as `openKernelFile`
 */
export function openInitrdFile(
  path: string,
  immutable: boolean,
  check: (size: number) => void,
): BootFile {
  return usingSource(path, (source, keepOpen) => {
    check(source.size);
    const stored = storedContent(path);
    if (stored !== undefined || immutable || isSealedFile(source.fd)) return keepOpen(stored);
    return copied(source, `initrd ${source.identify()}`, (write) => {
      forEachChunk(source, write);
      source.checkUnchanged();
    });
  });
}

/** Opens a file and closes it again unless `use` makes it a boot's. */
function usingSource<T>(
  path: string,
  use: (source: FileSource, keepOpen: (content: StoredContent | undefined) => BootFile) => T,
): T {
  const source = FileSource.open(path);
  let kept = false;
  try {
    return use(source, (content) => {
      kept = true;
      return bootFile(source, path, content);
    });
  } finally {
    if (!kept) source.close();
  }
}

function bootFile(source: FileSource, path: string, content: StoredContent | undefined): BootFile {
  let closed = false;
  const close = (): void => {
    if (!closed) source.close();
    closed = true;
  };
  return { fd: source.fd, size: source.size, name: source.name, path, content, close };
}

/** @param name what the user calls it */
function keptFile(name: string, path: string): BootFile {
  const source = FileSource.open(path);
  return { ...bootFile(source, path, storedContent(path)), name };
}

/** A copy in the store, made unless there is one, or in memory. */
function copied(source: FileSource, key: string, fill: Fill): BootFile {
  const cache = new FileCache();
  const kept = cache.find(key) ?? cache.add(key, source.size, fill);
  if (kept !== undefined) return keptFile(source.name, kept.path);
  return { ...sealedCopy(key, source.name, fill), name: source.name, content: undefined };
}

function planned(file: BootFile, check: (plan: KernelPlan) => void): KernelFile {
  try {
    const plan = planElf(new FileSource(file.fd, file.name));
    check(plan);
    return { ...file, plan };
  } catch (error) {
    file.close();
    throw error;
  }
}

/** The content of a file that is mapped as it is: hashed when it is first seen. */
function contentOf(source: FileSource): StoredContent {
  const cache = new FileCache();
  const key = `as it is ${source.identify()}`;
  let sha256 = cache.recall(key)?.sha256;
  if (sha256 === undefined) {
    const hash = createHash('sha256');
    forEachChunk(source, (bytes) => hash.update(bytes));
    source.checkUnchanged();
    sha256 = hash.digest('hex');
    cache.remember(key, sha256, source.size);
  }
  return { sha256, store: cache.folder };
}

function forEachChunk(source: FileSource, use: (bytes: Uint8Array) => void): void {
  const chunk = new Uint8Array(Math.min(CHUNK, source.size));
  for (let at = 0; at < source.size; at += chunk.length) {
    const piece = chunk.subarray(0, Math.min(chunk.length, source.size - at));
    source.readInto(piece, at);
    use(piece);
  }
}
