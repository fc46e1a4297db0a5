/**
 * What an initrd holds and what a file is: the image side of `pando image inspect`. Kernels are laid
 * open by the loader.
 */
import { type ByteSource, BytesSource, FileSource, JoinedSource } from '../loader/byte-source.js';
import { readInitrd } from '../loader/cpio.js';
import { inspectKernel, type KernelInspection } from '../loader/inspect.js';
import { ErofsReader } from './erofs/reader.js';
import { walk } from './file-tree.js';

/** An unpacked initrd of more than this is not read through. */
const INITRD_LIMIT = 1 << 30;

/** An initrd's content, counted. */
export interface InitrdInspection {
  /** Bytes of the archive as it is stored. */
  readonly size: number;
  readonly entries: number;
  /** Bytes of its files' content, unpacked. */
  readonly contentBytes: number;
}

/** Runs `read` on a file's bytes. */
function withFile<T>(path: string, read: (source: ByteSource) => T): T {
  const source = FileSource.open(path);
  try {
    return read(source);
  } finally {
    source.close();
  }
}

/** @throws PandoError what `FileSource.open` and `inspectKernel` throw */
export function inspectKernelFile(path: string): KernelInspection {
  return withFile(path, inspectKernel);
}

/** @throws PandoError what `FileSource.open` and `readInitrd` throw */
export function inspectInitrdFile(path: string): InitrdInspection {
  return withFile(path, (source) => {
    const whole = new BytesSource(source.read(0, source.size));
    let entries = 0;
    let contentBytes = 0;
    for (const entry of readInitrd(whole, INITRD_LIMIT)) {
      entries++;
      contentBytes += entry.size;
    }
    return { size: source.size, entries, contentBytes };
  });
}

/** A root file system's content, counted. */
export interface RootInspection {
  /** Bytes of the image. */
  readonly size: number;
  readonly inodes: number;
  readonly files: number;
  /** Bytes of its files' content. */
  readonly contentBytes: number;
}

/**
 * @param paths the files that the image is made of, in their order
 * @throws PandoError EROFS_MALFORMED, EROFS_UNSUPPORTED, and what `FileSource.open` throws
 */
export function inspectRoot(paths: readonly string[]): RootInspection {
  const sources: FileSource[] = [];
  try {
    for (const path of paths) sources.push(FileSource.open(path));
    const source = new JoinedSource(sources);
    const reader = new ErofsReader(source);
    const inodes = new Set([...walk(reader.tree())].map(([, inode]) => inode));
    let files = 0;
    let contentBytes = 0;
    for (const inode of inodes) {
      if (inode.kind !== 'file') continue;
      files++;
      contentBytes += inode.size;
    }
    return { size: source.size, inodes: inodes.size + 1, files, contentBytes };
  } finally {
    for (const source of sources) source.close();
  }
}
