/**
 * What an initrd holds and what a file is: the image side of `pando image inspect`. Kernels are laid
 * open by the loader.
 */
import { type ByteSource, BytesSource, FileSource } from '../loader/byte-source.js';
import { readInitrd } from '../loader/cpio.js';
import { inspectKernel, type KernelInspection } from '../loader/inspect.js';

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
