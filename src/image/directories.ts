/**
 * Where images and downloads are kept, after the XDG Base Directory Specification 0.8: data that
 * must last under XDG_DATA_HOME, what can be fetched again under XDG_CACHE_HOME.
 */
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { PandoError, reasonOf } from '../error.js';
import { makeFolders } from './store-folders.js';

/** The part of the process environment that decides about directories. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** The specification has relative values ignored. */
function baseDirectory(value: string | undefined, fallback: readonly string[], env: Environment) {
  if (value !== undefined && isAbsolute(value)) return value;
  return join(env.HOME || homedir(), ...fallback);
}

/** The image store's folder: `$PANDO_STORE`, else `pando/images` under XDG_DATA_HOME. */
export function storeDirectory(env: Environment = process.env): string {
  const chosen = env.PANDO_STORE;
  if (chosen) return chosen;
  return join(baseDirectory(env.XDG_DATA_HOME, ['.local', 'share'], env), 'pando', 'images');
}

/** The folder of downloads, which may be deleted at any time: `pando` under XDG_CACHE_HOME. */
export function cacheDirectory(env: Environment = process.env): string {
  return join(baseDirectory(env.XDG_CACHE_HOME, ['.cache'], env), 'pando');
}

/**
 * Makes a folder with its parents.
 * @throws PandoError DIRECTORY_NOT_WRITABLE when that is not allowed; `variable` names the
 * environment variable that moves the folder elsewhere
 */
export async function makeDirectory(path: string, variable: string): Promise<void> {
  try {
    makeFolders(path);
  } catch (cause) {
    throw new PandoError(
      'DIRECTORY_NOT_WRITABLE',
      `folder ${path} cannot be made: ${reasonOf(cause)}`,
      {
        remedy: `set ${variable} to a folder that you may write`,
        cause,
      },
    );
  }
}
