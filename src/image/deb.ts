/**
 * Reads Debian packages (deb(5)). dpkg-deb unpacks the archive's members and
 * compression to a tar stream; nothing of the package is run and nothing is written.
 */
import type { Readable } from 'node:stream';
import { PandoError } from '../error.js';
import { notStarted, start, tail } from './subprocess.js';
import { readTarFile, readTarFiles, type TarEntry, type TarFile, TarReader } from './tar.js';

/**
 * @param file the package
 * @param wanted picks the file by its path without a leading "./"
 * @param limit most bytes that file may have
 * @throws PandoError PACKAGE_FILE_MISSING, PACKAGE_MALFORMED, TAR_MALFORMED, TAR_FILE_TOO_LARGE,
 * TOOL_MISSING
 */
export async function readPackageFile(
  file: string,
  wanted: (path: string) => boolean,
  limit: number,
): Promise<TarFile> {
  const found = await unpacking(file, DATA, (stream) => readTarFile(stream, wanted, limit));
  if (found !== undefined) return found;
  throw new PandoError(
    'PACKAGE_FILE_MISSING',
    `package ${file} does not have the file looked for`,
    {
      remedy: 'name a package that contains a kernel, such as linux-image-cloud-amd64',
    },
  );
}

/**
 * Hands every file of a package that `wanted` accepts to `take`, one at a time.
 * @throws PandoError PACKAGE_MALFORMED, TAR_MALFORMED, TAR_FILE_TOO_LARGE, TOOL_MISSING
 */
export async function readPackageFiles(
  file: string,
  wanted: (path: string) => boolean,
  limit: number,
  take: (file: TarFile) => void,
): Promise<void> {
  await unpacking(file, DATA, async (stream) => {
    for await (const found of readTarFiles(stream, wanted, limit)) take(found);
    return undefined;
  });
}

/** One of a package's two archives: its files, or what dpkg knows and runs. */
export type PackageArchive = '--fsys-tarfile' | '--ctrl-tarfile';
const DATA = '--fsys-tarfile';

/**
 * Hands every entry of one of a package's archives to `take`, in order.
 * @throws PandoError PACKAGE_MALFORMED, TAR_MALFORMED, TAR_UNSUPPORTED, TOOL_MISSING, and what `take` throws
 */
export async function readPackageEntries(
  file: string,
  archive: PackageArchive,
  take: (entry: TarEntry, contents: AsyncIterable<Uint8Array>) => Promise<void>,
): Promise<void> {
  await unpacking(file, archive, async (stream) => {
    const reader = new TarReader(stream);
    for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
      await take(entry, reader.contents());
    }
    // Whoever writes the stream would take an early end for a broken pipe.
    await reader.drain();
    return undefined;
  });
}

/** Gives `read` the tar stream in a package; what it returns is not undefined when it has read enough. */
async function unpacking<T>(
  file: string,
  archive: PackageArchive,
  read: (stream: Readable) => Promise<T | undefined>,
): Promise<T | undefined> {
  const child = start('dpkg-deb', [archive, file]);
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (piece: string) => {
    stderr += piece;
  });
  const closed = new Promise<number | null>((resolve, reject) => {
    child.on('error', (cause) => reject(notStarted('dpkg-deb', cause)));
    child.on('close', resolve);
  });
  // Awaited below; marked as handled for the case that reading fails first.
  closed.catch(() => undefined);
  let found: T | undefined;
  let failure: unknown;
  try {
    found = await read(child.stdout as Readable);
  } catch (cause) {
    failure = cause;
  }
  // Once it has given the file its remaining output is not wanted.
  if (found !== undefined) child.kill();
  child.stdout?.destroy();
  const status = await closed;
  if (found !== undefined) return found;
  if (status !== 0 && stderr !== '') {
    throw new PandoError('PACKAGE_MALFORMED', `package ${file}: ${tail(stderr)}`, {
      remedy: 'delete it and pull again',
      cause: failure,
    });
  }
  if (failure !== undefined) throw failure;
  return undefined;
}
