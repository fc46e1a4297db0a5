/**
 * dpkg's database as it is right behind unpacking: each package "install ok unpacked", so that
 * `dpkg --configure -a` in the guest does the rest (dpkg(1), deb-triggers(5), deb-conffiles(5)).
 */
import { createHash } from 'node:crypto';
import { parseStanza } from '../apt.js';

const FOLDER = 'var/lib/dpkg';
/** Of the folder `info`: names of packages of one version for several architectures have the architecture. */
const INFO_FORMAT = '1\n';

/** A package that has been unpacked. */
export interface UnpackedPackage {
  /** Files of its control archive by name. */
  readonly control: ReadonlyMap<string, ControlFile>;
  /** Paths of its files as the package has them, with a leading slash; the root is `/.`. */
  readonly paths: readonly string[];
  /** MD5 of each configuration file that it has, by path. */
  readonly conffiles: ReadonlyMap<string, string>;
}

export interface ControlFile {
  readonly permissions: number;
  readonly bytes: Uint8Array;
}

/** A file of the database. */
export interface DatabaseFile {
  /** Without a leading slash. */
  readonly path: string;
  readonly permissions: number;
  readonly bytes: Uint8Array;
}

function textOf(unpacked: UnpackedPackage, name: string): string {
  return Buffer.from(unpacked.control.get(name)?.bytes ?? []).toString('utf8');
}

/** What the database calls a package: its name, with the architecture where several may be installed. */
export function databaseName(unpacked: UnpackedPackage): string {
  const fields = parseStanza(textOf(unpacked, 'control'));
  const name = fields.get('Package') ?? '';
  return fields.get('Multi-Arch') === 'same' ? `${name}:${fields.get('Architecture')}` : name;
}

/** Paths that a control file `conffiles` lists; lines with a flag are of files that are to go. */
export function conffilePaths(text: string): string[] {
  return text.split('\n').filter((line) => line.startsWith('/'));
}

export function md5(bytes: Uint8Array): string {
  return createHash('md5').update(bytes).digest('hex');
}

function statusStanza(unpacked: UnpackedPackage): string {
  const control = textOf(unpacked, 'control').trimEnd();
  const [first = '', ...rest] = control.split('\n');
  const conffiles = [...unpacked.conffiles].map(([path, hash]) => ` ${path} ${hash}`);
  const lines = [first, 'Status: install ok unpacked', ...rest];
  if (conffiles.length > 0) lines.push('Conffiles:', ...conffiles);
  return `${lines.join('\n')}\n\n`;
}

/** The triggers that packages are interested in: file names in one file, others in a file each. */
function triggerFiles(packages: readonly UnpackedPackage[]): Map<string, string> {
  const files = new Map<string, string>([['File', '']]);
  for (const unpacked of packages) {
    for (const line of textOf(unpacked, 'triggers').split('\n')) {
      const [, noawait, trigger = ''] = /^\s*interest(-noawait|-await)?\s+(\S+)/.exec(line) ?? [];
      if (trigger === '') continue;
      const who = `${databaseName(unpacked)}${noawait === '-noawait' ? '/noawait' : ''}`;
      const [file, text] = trigger.startsWith('/') ? ['File', `${trigger} ${who}`] : [trigger, who];
      files.set(file, `${files.get(file) ?? ''}${text}\n`);
    }
  }
  return files;
}

/** The database's files; folders are those that the paths imply. */
export function dpkgDatabase(packages: readonly UnpackedPackage[]): DatabaseFile[] {
  const files: DatabaseFile[] = [];
  const add = (path: string, bytes: string | Uint8Array, permissions = 0o644): void => {
    const content = typeof bytes === 'string' ? Buffer.from(bytes) : bytes;
    files.push({ path: `${FOLDER}/${path}`, permissions, bytes: content });
  };
  add('status', packages.map(statusStanza).join(''));
  add('available', '');
  add('diversions', '');
  add('statoverride', '');
  add('info/format', INFO_FORMAT);
  for (const unpacked of packages) {
    const name = databaseName(unpacked);
    add(`info/${name}.list`, unpacked.paths.map((path) => `${path}\n`).join(''));
    for (const [file, { permissions, bytes }] of unpacked.control) {
      if (file !== 'control') add(`info/${name}.${file}`, bytes, permissions);
    }
  }
  for (const [name, text] of triggerFiles(packages)) add(`triggers/${name}`, text);
  return files;
}
