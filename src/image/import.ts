/** Makes an image of files that the user has: a bzImage or an ELF kernel, and perhaps an initrd. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { PandoError } from '../error.js';
import { reason } from './directories.js';
import { prepareKernel } from './kernel-file.js';
import { checkImageName, DEFAULT_COMMAND_LINE } from './manifest.js';
import { type ProgressSink, silent } from './progress.js';
import { type Image, ImageStore, sha256 } from './store.js';

/** What to import; paths as the user gave them. */
export interface ImportOptions {
  readonly name: string;
  readonly kernel: string;
  readonly initrd?: string;
  /** Default `console=ttyS0`. */
  readonly commandLine?: string;
  readonly store?: ImageStore;
  readonly progress?: ProgressSink;
}

/** @throws PandoError FILE_UNREADABLE */
async function readUserFile(what: string, path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new PandoError('FILE_UNREADABLE', `${what} ${path}: ${reason(cause)}`, {
      remedy: 'name a file that you may read',
      cause,
    });
  }
}

/**
 * Copies a kernel, unpacked and page-aligned, and an initrd, as it is, into the store.
 * @throws PandoError FILE_UNREADABLE, and what the loader and the store throw
 */
export async function importImage(options: ImportOptions): Promise<Image> {
  const { store = new ImageStore(), progress = silent } = options;
  const name = checkImageName(options.name);
  progress('reading the kernel');
  const packed = await readUserFile('kernel', options.kernel);
  const initrdBytes =
    options.initrd === undefined ? undefined : await readUserFile('initrd', options.initrd);
  progress('unpacking the kernel');
  const vmlinux = prepareKernel(packed);
  progress('storing');
  const kernel = await store.put(vmlinux);
  const initrd = initrdBytes && (await store.put(initrdBytes));
  return store.commit({
    format: 1,
    name,
    created: new Date().toISOString(),
    kernel,
    ...(initrd === undefined ? {} : { initrd }),
    commandLine: options.commandLine ?? DEFAULT_COMMAND_LINE,
    provenance: {
      kind: 'import',
      kernelFile: resolve(options.kernel),
      kernelFileSha256: sha256(packed),
      ...(options.initrd === undefined ? {} : { initrdFile: resolve(options.initrd) }),
      packages: [],
    },
  });
}
