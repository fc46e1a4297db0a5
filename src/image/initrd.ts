/**
 * The image's own initrd: static busybox, a link for each of its applets, and the scripts of
 * init-script.ts. The same busybox gives the same bytes: times are 0, owners root, order fixed.
 */
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PandoError, reasonOf } from '../error.js';
import type { CpioInput } from '../loader/cpio-writer.js';
import {
  DHCP_SCRIPT,
  DHCP_SCRIPT_TEXT,
  GROUP,
  INIT_SCRIPT,
  PASSWD,
  PROFILE,
  RUN_SCRIPT,
  STAGE_PROGRAM,
} from './init-script.js';
import { stageProgram } from './stage-program.js';
import { run } from './subprocess.js';

const FOLDERS: readonly (readonly [string, number])[] = [
  ['bin', 0o755],
  ['dev', 0o755],
  ['etc', 0o755],
  ['proc', 0o555],
  ['root', 0o700],
  ['run', 0o755],
  ['sbin', 0o755],
  ['sys', 0o555],
  ['tmp', 0o1777],
  ['usr', 0o755],
  ['usr/bin', 0o755],
  ['usr/sbin', 0o755],
];

/**
 * Asks busybox itself which applets it has; it is static, so any x86-64 Linux runs it.
 * @param folder where the program may be written for that time
 * @returns paths without a leading "/", such as "sbin/init"
 * @throws PandoError BUSYBOX_NOT_RUNNABLE
 */
export async function listApplets(busybox: Uint8Array, folder: string): Promise<string[]> {
  const own = await mkdtemp(join(folder, 'busybox-'));
  try {
    const program = join(own, 'busybox');
    await writeFile(program, busybox);
    await chmod(program, 0o700);
    const { status, stdout } = await run(program, ['--list-full']);
    const applets = stdout.split('\n').filter((path) => /^[\w./[-]+$/.test(path));
    if (status === 0 && applets.includes('bin/sh') && applets.includes('sbin/init')) return applets;
    throw new Error(`--list-full gave ${applets.length} applets, status ${status}`);
  } catch (cause) {
    throw new PandoError('BUSYBOX_NOT_RUNNABLE', `busybox in ${folder}: ${reasonOf(cause)}`, {
      remedy: 'set XDG_CACHE_HOME to a folder whose file system lets programs run',
      cause,
    });
  } finally {
    await rm(own, { recursive: true, force: true });
  }
}

/**
 * The archive's entries, parents before children.
 * @param applets paths as `listApplets` gives them
 */
export function initrdEntries(busybox: Uint8Array, applets: readonly string[]): CpioInput[] {
  const links = applets.filter((path) => path !== 'bin/busybox' && path !== 'linuxrc').sort();
  const folders = new Map(FOLDERS);
  for (const path of links) {
    const parts = path.split('/').slice(0, -1);
    for (let depth = 1; depth <= parts.length; depth++) {
      const parent = parts.slice(0, depth).join('/');
      if (!folders.has(parent)) folders.set(parent, 0o755);
    }
  }
  return [
    ...[...folders]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, permissions]): CpioInput => ({ kind: 'directory', name, permissions })),
    // The kernel opens it for /init before /init can mount anything.
    { kind: 'character', name: 'dev/console', permissions: 0o600, major: 5, minor: 1 },
    file('init', 0o755, INIT_SCRIPT),
    file('etc/group', 0o644, GROUP),
    file('etc/passwd', 0o644, PASSWD),
    file('etc/profile', 0o644, PROFILE),
    file('etc/run', 0o755, RUN_SCRIPT),
    file(DHCP_SCRIPT.slice(1), 0o755, DHCP_SCRIPT_TEXT),
    {
      kind: 'file',
      name: STAGE_PROGRAM.slice(1),
      permissions: 0o755,
      content: stageProgram(),
    },
    { kind: 'file', name: 'bin/busybox', permissions: 0o755, content: busybox },
    ...links.map(
      (name): CpioInput => ({ kind: 'symlink', name, permissions: 0o777, target: '/bin/busybox' }),
    ),
  ];
}

function file(name: string, permissions: number, text: string): CpioInput {
  return { kind: 'file', name, permissions, content: new TextEncoder().encode(text) };
}
