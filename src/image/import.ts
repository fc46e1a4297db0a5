/** Makes an image of files that the user has: a bzImage or an ELF kernel, and perhaps an initrd. */
import { resolve } from 'node:path';
import { PandoError } from '../error.js';
import { FileSource } from '../loader/byte-source.js';
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

/** A file is read whole, by one call (read(2) takes 2 GiB at most). */
const FILE_LIMIT = 2 ** 31 - 1;

function readUserFile(path: string): Uint8Array {
  const source = FileSource.open(path);
  try {
    if (source.size <= FILE_LIMIT) return source.read(0, source.size);
    const message = `${path} has ${source.size} bytes, an image's file at most ${FILE_LIMIT}`;
    throw new PandoError('FILE_TOO_LARGE', message, { remedy: 'import a smaller file' });
  } finally {
    source.close();
  }
}

/**
 * Copies a kernel, unpacked and page-aligned, and an initrd, as it is, into the store.
 * @throws PandoError FILE_NOT_FOUND, FILE_UNREADABLE, FILE_NOT_REGULAR, FILE_TOO_LARGE, and what the loader and the store throw
 */
export async function importImage(options: ImportOptions): Promise<Image> {
  const { store = new ImageStore(), progress = silent } = options;
  const name = checkImageName(options.name);
  progress('reading the kernel');
  const packed = readUserFile(options.kernel);
  const initrdBytes = options.initrd === undefined ? undefined : readUserFile(options.initrd);
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
