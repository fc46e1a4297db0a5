/** Whose files are that a request makes: its user's, as with E2B's envd, with the folders made for them. */
import { posix } from 'node:path';
import type { SandboxFiles } from '../../sandbox/files.js';
import type { HostedSandbox } from '../hosted-sandbox.js';

/** The outermost of a path's folders that is not there, or the path itself. */
async function firstMissing(files: SandboxFiles, path: string): Promise<string> {
  const folder = posix.dirname(path);
  if (folder === path || (await files.exists(folder))) return path;
  return firstMissing(files, folder);
}

/**
 * Makes a file or folder, and gives it to a user with the folders that were missing above it.
 * @param path absolute
 * @param user of the request; the sandbox's when undefined
 * @throws RequestError 401, and what `make` throws
 */
export async function makeOwned(
  hosted: HostedSandbox,
  path: string,
  user: string | undefined,
  make: () => Promise<void>,
): Promise<void> {
  const { uid, gid } = await hosted.users.find(user);
  // What the agent makes is root's.
  if (uid === 0) return make();
  const first = await firstMissing(hosted.sandbox.files, path);
  await make();
  const all = first === path ? [] : ['-R'];
  await hosted.sandbox.exec(['chown', '-h', ...all, `${uid}:${gid}`, first], {
    user: '0',
    check: true,
  });
}
