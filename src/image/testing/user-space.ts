/**
 * Debian's own programs, the same files for the guest and for the host: a folder of unpacked packages
 * in the user's cache, programs that run from it here, and an archive of it for a guest's initrd.
 */
import { spawn } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type CpioInput, writeCpio } from '../../loader/cpio-writer.js';
import { Apt } from '../apt.js';
import { cacheDirectory } from '../directories.js';
import { folderEntries } from '../folder.js';
import { run } from '../subprocess.js';

/** The programs and what their dependencies need of other packages. */
const PACKAGES = [
  'bash',
  'bc',
  'coreutils',
  'diffutils',
  'grep',
  'gzip',
  'libacl1',
  'libattr1',
  'libbz2-1.0',
  'libc6',
  'libcrypt1',
  'libexpat1',
  'libffi8',
  'libgcc-s1',
  'libgmp10',
  'liblzma5',
  'libpcre2-8-0',
  'libpython3.11-minimal',
  'libpython3.11-stdlib',
  'libreadline8',
  'libselinux1',
  'libssl3',
  'libtinfo6',
  'mawk',
  'openssl',
  'perl-base',
  'python3.11-minimal',
  'sed',
  'xz-utils',
  'zlib1g',
];

/** Nothing runs these; without them the initrd is half the size. */
const LEFT_OUT = [
  'usr/share',
  'usr/lib/python3.11/idlelib',
  'usr/lib/python3.11/lib2to3',
  'usr/lib/python3.11/test',
  'usr/lib/python3.11/distutils',
  'usr/lib/x86_64-linux-gnu/gconv',
  'usr/lib/x86_64-linux-gnu/ossl-modules',
];

/** A change to what the folder holds needs a new name. */
const FOLDER = 'test-user-space-1';

/** Where Debian's merged /usr needs links that the package base-files makes. */
const MERGED = ['bin', 'sbin', 'lib', 'lib64'];

/** The dynamic linker of the folder, so that programs run with its libraries, not with the host's. */
const LINKER = 'usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2';
const LIBRARIES = 'usr/lib/x86_64-linux-gnu';

/**
 * What both sides run with. The C library computes some functions with other instructions where the
 * processor has FMA, and then rounds some results differently: without it everywhere.
 */
export const ENVIRONMENT: Readonly<Record<string, string>> = {
  GLIBC_TUNABLES: 'glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2',
  LC_ALL: 'C',
  PYTHONUTF8: '1',
  PYTHONHASHSEED: '0',
  TZ: 'UTC',
};

async function unpack(apt: Apt, root: string): Promise<void> {
  for (const name of PACKAGES) {
    const file = await apt.download(await apt.show(name));
    const { status, stderr } = await run('dpkg-deb', ['-x', file, root]);
    if (status !== 0) throw new Error(`dpkg-deb -x ${file}: ${stderr}`);
  }
}

/** Moves /bin, /lib and so on to /usr, with links in their place (Debian's usrmerge). */
async function merge(root: string): Promise<void> {
  for (const name of MERGED) {
    await mkdir(join(root, 'usr', name), { recursive: true });
    await mkdir(join(root, name), { recursive: true });
    const { status, stderr } = await run('cp', [
      '-a',
      `${join(root, name)}/.`,
      join(root, 'usr', name),
    ]);
    if (status !== 0) throw new Error(stderr);
    await rm(join(root, name), { recursive: true });
    await run('ln', ['-s', `usr/${name}`, join(root, name)]);
  }
}

/** Every program of the folder as a script that runs it with the folder's own libraries. */
async function wrap(root: string, folder: string): Promise<void> {
  await mkdir(folder);
  for (const name of await readdir(join(root, 'usr/bin'))) {
    const program = join(root, 'usr/bin', name);
    const magic = (await readFile(program).catch(() => Buffer.alloc(0))).subarray(0, 4);
    if (magic.toString('latin1') !== '\x7fELF') continue;
    const linker = `${join(root, LINKER)} --library-path ${join(root, LIBRARIES)}`;
    const script = `#!/bin/sh\nexec ${linker} --argv0 ${name} ${program} "$@"\n`;
    await writeFile(join(folder, name), script);
    await chmod(join(folder, name), 0o755);
  }
}

export class UserSpace {
  private constructor(private readonly folder: string) {}

  /** The unpacked packages; made once, then found. */
  static async open(): Promise<UserSpace> {
    const cache = cacheDirectory();
    const folder = join(cache, FOLDER);
    const made = await readFile(join(folder, 'complete')).catch(() => undefined);
    if (made !== undefined) return new UserSpace(folder);
    await mkdir(cache, { recursive: true });
    const own = await mkdtemp(join(cache, `${FOLDER}-`));
    try {
      const root = join(own, 'root');
      const apt = await Apt.open(cache, () => {});
      try {
        await unpack(apt, root);
      } finally {
        await apt.dispose();
      }
      await merge(root);
      for (const path of LEFT_OUT) await rm(join(root, path), { recursive: true, force: true });
      for (const path of ['dev', 'proc', 'tmp', 'tests'])
        await mkdir(join(root, path), { recursive: true });
      await run('ln', ['-s', 'mawk', join(root, 'usr/bin/awk')]);
      // Debian's packages compile Python's library when they are installed.
      const library = join(root, 'usr/lib/python3.11');
      const compile = `python3.11 -m compileall -q --invalidation-mode unchecked-hash ${library}`;
      await new UserSpace(own).runHere(compile, root);
      await writeFile(join(own, 'complete'), '');
      await rm(folder, { recursive: true, force: true });
      await rename(own, folder);
    } catch (error) {
      await rm(own, { recursive: true, force: true });
      throw error;
    }
    return new UserSpace(folder);
  }

  get root(): string {
    return join(this.folder, 'root');
  }

  /** Runs a shell command on the host with the folder's programs; what it prints on both outputs. */
  async runHere(command: string, directory: string): Promise<string> {
    const bin = await mkdtemp(join(this.folder, 'bin-'));
    try {
      await wrap(this.root, join(bin, 'bin'));
      const child = spawn(join(bin, 'bin', 'bash'), ['-c', `exec 2>&1; ${command}`], {
        cwd: directory,
        env: { ...ENVIRONMENT, PATH: join(bin, 'bin'), PYTHONHOME: join(this.root, 'usr') },
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let output = '';
      child.stdout.setEncoding('latin1').on('data', (piece: string) => {
        output += piece;
      });
      await new Promise((resolve, reject) => child.on('close', resolve).on('error', reject));
      return output;
    } finally {
      await rm(bin, { recursive: true, force: true });
    }
  }

  /** An archive with the folder's content below /debian and `tests` in /debian/tests. */
  archive(tests: string): Uint8Array {
    const below = function* (prefix: string, entries: Iterable<CpioInput>): Generator<CpioInput> {
      for (const entry of entries) yield { ...entry, name: `${prefix}/${entry.name}` };
    };
    const root: CpioInput = { kind: 'directory', name: 'debian', permissions: 0o755 };
    return writeCpio([
      root,
      ...below('debian', folderEntries(this.root)),
      ...below('debian/tests', folderEntries(tests)),
    ]);
  }
}
