/**
 * Debian packages from the machine's own sources, as an ordinary user (apt.conf(5), apt-get(8),
 * apt-cache(8)). APT gets a private state and cache by a configuration file read after the system's:
 * sources, keys, preferences and proxies stay the system's, whose state is neither locked nor
 * written, and the system's hooks do not run. APT checks the signatures of what it fetches.
 */
import {
  access,
  constants,
  mkdir,
  mkdtemp,
  readdir,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { PandoError } from '../error.js';
import { coded } from '../system-error.js';
import { removeStale } from './atomic-file.js';
import { makeDirectory } from './directories.js';
import { downloadsDirectory } from './downloads.js';
import type { PackageProvenance } from './manifest.js';
import type { ProgressSink } from './progress.js';
import { sha256OfFile } from './store.js';
import { type Finished, run, tail } from './subprocess.js';

/** The system's own lists serve when they are at most this old. */
const LISTS_FRESH_MS = 24 * 60 * 60 * 1000;
const SYSTEM_LISTS = '/var/lib/apt/lists';

/** One stanza of apt-cache(8)'s `show`. */
export interface PackageRecord extends PackageProvenance {
  /** The Depends field; empty when there is none. */
  readonly depends: string;
}

/** Hooks that would touch the system, and indexes that nothing here reads. */
const CLEARED = [
  'APT::Update::Pre-Invoke',
  'APT::Update::Post-Invoke',
  'APT::Update::Post-Invoke-Success',
  'AptCli::Hooks',
  'Acquire::IndexTargets::deb::DEP-11',
  'Acquire::IndexTargets::deb::CNF',
  'Acquire::IndexTargets::deb::Contents-deb',
  'APT::Architectures',
];

/** A value of apt.conf(5), whose quoted strings have no escapes. */
function quoted(value: string): string {
  if (!/["\n]/.test(value)) return `"${value}"`;
  throw new PandoError(
    'DIRECTORY_NAME_UNUSABLE',
    `APT cannot be told a path with a quote: ${value}`,
    {
      remedy: 'set XDG_CACHE_HOME to another folder',
    },
  );
}

function configuration(folder: string, lists: string): string {
  const settings: readonly (readonly [string, string])[] = [
    ['Dir::State', folder],
    ['Dir::State::lists', lists],
    // An empty one: what is installed here must not decide which version is the candidate.
    ['Dir::State::status', join(folder, 'status')],
    ['Dir::Cache', join(folder, 'cache')],
    ['Dir::Cache::pkgcache', 'pkgcache.bin'],
    ['Dir::Cache::srcpkgcache', 'srcpkgcache.bin'],
    ['Debug::NoLocking', 'true'],
    ['APT::Architecture', 'amd64'],
    ['APT::Architectures::', 'amd64'],
    // Root's downloads would else be tried as _apt, who may not enter root's private folders.
    ['APT::Sandbox::User', 'root'],
    ['Acquire::Languages', 'none'],
  ];
  return [
    ...CLEARED.map((name) => `#clear ${name};`),
    ...settings.map(([name, value]) => `${name} ${quoted(value)};`),
    '',
  ].join('\n');
}

/** Time of the last successful update of APT lists that this user may read; 0 when there is none. */
async function listsTime(folder: string): Promise<number> {
  try {
    const names = await readdir(folder);
    const packages = names.filter((name) => /_Packages(\.\w+)?$/.test(name));
    const releases = names.filter((name) => /Release$/.test(name));
    if (packages.length === 0 || releases.length === 0) return 0;
    for (const name of [...packages, ...releases]) await access(join(folder, name), constants.R_OK);
    // An update that changed no list still passes through partial/.
    const times = [await stat(folder), await stat(join(folder, 'partial'))];
    return Math.max(...times.map((entry) => entry.mtimeMs));
  } catch {
    return 0;
  }
}

/** Parses one stanza of deb822(5); continuation lines are joined. */
export function parseStanza(stanza: string): Map<string, string> {
  const fields = new Map<string, string>();
  let last = '';
  for (const line of stanza.split('\n')) {
    const colon = line.indexOf(':');
    if (/^[ \t]/.test(line)) fields.set(last, `${fields.get(last) ?? ''}\n${line.trim()}`);
    else if (colon > 0) {
      last = line.slice(0, colon);
      fields.set(last, line.slice(colon + 1).trim());
    }
  }
  return fields;
}

const SELECTION = /^[a-z0-9][a-z0-9.+-]+(=[\w.+:~-]+)?$/i;

/** @throws PandoError PACKAGE_NAME_INVALID */
function checkSelection(selection: string): void {
  if (SELECTION.test(selection)) return;
  throw new PandoError('PACKAGE_NAME_INVALID', `${JSON.stringify(selection)} names no package`);
}

function parseRecord(stanza: string): PackageRecord | undefined {
  const fields = parseStanza(stanza);
  const name = fields.get('Package');
  const version = fields.get('Version');
  const sha256 = fields.get('SHA256');
  const size = Number(fields.get('Size'));
  if (!name || !version || !/^[0-9a-f]{64}$/.test(sha256 ?? '') || !Number.isSafeInteger(size)) {
    return undefined;
  }
  return {
    name,
    version,
    architecture: fields.get('Architecture') ?? 'amd64',
    sha256: sha256!,
    size,
    depends: fields.get('Depends') ?? '',
  };
}

/** A private APT. Dispose of it when done: that deletes its state, not the downloaded packages. */
export class Apt {
  private readonly configFile: string;
  private updated = false;
  private updateMessages = '';

  private constructor(
    private readonly folder: string,
    private readonly packages: string,
    private readonly progress: ProgressSink,
  ) {
    this.configFile = join(folder, 'apt.conf');
  }

  /**
   * @param cache folder for downloads; made when missing
   * @param systemLists lists to use in place of fetching own ones, when they are recent
   * @throws PandoError DIRECTORY_NOT_WRITABLE, PACKAGE_LISTS_FAILED, TOOL_MISSING
   */
  static async open(
    cache: string,
    progress: ProgressSink,
    systemLists: string = SYSTEM_LISTS,
  ): Promise<Apt> {
    const states = join(cache, 'apt');
    const packages = downloadsDirectory(cache);
    await makeDirectory(states, 'XDG_CACHE_HOME');
    await makeDirectory(packages, 'XDG_CACHE_HOME');
    await removeStale(states);
    const folder = await mkdtemp(join(states, 'state-'));
    const apt = new Apt(folder, packages, progress);
    try {
      for (const name of ['lists/partial', 'cache/archives/partial', 'download']) {
        await mkdir(join(folder, name), { recursive: true });
      }
      await writeFile(join(folder, 'status'), '');
      const fresh = Date.now() - (await listsTime(systemLists)) < LISTS_FRESH_MS;
      await apt.configure(fresh ? systemLists : join(folder, 'lists'));
      if (!fresh) await apt.update();
    } catch (cause) {
      await apt.dispose();
      throw cause;
    }
    return apt;
  }

  private configure(lists: string): Promise<void> {
    return writeFile(this.configFile, configuration(this.folder, lists));
  }

  /** Deletes the private state. */
  async dispose(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }

  /** Runs one of APT's programs; its status lines (apt.conf's APT::Status-Fd) become progress. */
  private apt(command: string, args: readonly string[], phase?: string): Promise<Finished> {
    const options = ['-c', this.configFile, '-q'];
    if (phase === undefined) return run(command, [...options, ...args]);
    this.progress(phase);
    return run(command, [...options, '-o', 'APT::Status-Fd=3', ...args], {
      directory: join(this.folder, 'download'),
      onStatusLine: (line) => {
        const percent = /^dlstatus:\d+:([\d.]+):/.exec(line)?.[1];
        if (percent !== undefined) this.progress(phase, Math.min(1, Number(percent) / 100));
      },
    });
  }

  /** Fetches the lists of the system's sources into the private state. */
  private async update(): Promise<void> {
    this.updated = true;
    await this.configure(join(this.folder, 'lists'));
    const { status, stderr } = await this.apt('apt-get', ['update'], 'fetching package lists');
    this.updateMessages = stderr;
    if (status !== 0) {
      throw new PandoError('PACKAGE_LISTS_FAILED', `apt-get update: ${tail(stderr)}`, {
        remedy: 'check the network, and the sources and proxies that APT uses (`apt-config dump`)',
      });
    }
  }

  /** Looks a package up, in fresh lists when the system's do not know it. */
  private async lookUp(selection: string): Promise<PackageRecord | undefined> {
    const { stdout } = await this.apt('apt-cache', ['show', '--no-all-versions', selection]);
    return parseRecord(stdout.split(/\n\n+/)[0] ?? '');
  }

  /**
   * The record of a package's candidate version.
   * @param selection `name` or `name=version`
   * @throws PandoError PACKAGE_NAME_INVALID, PACKAGE_NOT_FOUND, PACKAGE_LISTS_FAILED, TOOL_MISSING
   */
  async show(selection: string): Promise<PackageRecord> {
    checkSelection(selection);
    let record = await this.lookUp(selection);
    if (record === undefined && !this.updated) {
      await this.update();
      record = await this.lookUp(selection);
    }
    if (record !== undefined) return record;
    const failed = /Failed to fetch|Could not|Temporary failure/.test(this.updateMessages);
    if (failed) {
      throw new PandoError(
        'PACKAGE_LISTS_FAILED',
        `package ${selection}: its lists could not be fetched: ${tail(this.updateMessages)}`,
        { remedy: 'check the network, and the sources and proxies that APT uses' },
      );
    }
    throw new PandoError('PACKAGE_NOT_FOUND', `the host's package sources have no ${selection}`, {
      remedy:
        '`apt-cache search --names-only linux-image` lists kernels; /etc/apt names the sources',
    });
  }

  /**
   * The packages that a new system with these consists of: the essential ones, these, and all that they
   * depend on; what they merely recommend is left out.
   * @param selections `name` or `name=version`
   * @returns in the order in which APT would install them
   * @throws PandoError PACKAGE_NAME_INVALID, PACKAGES_UNRESOLVABLE, PACKAGE_LISTS_FAILED, TOOL_MISSING
   */
  async resolve(selections: readonly string[]): Promise<PackageRecord[]> {
    for (const selection of selections) checkSelection(selection);
    const options = ['install', '--simulate', '--no-install-recommends', '?essential'];
    let simulated = await this.apt('apt-get', [...options, ...selections]);
    if (simulated.status !== 0 && !this.updated) {
      await this.update();
      simulated = await this.apt('apt-get', [...options, ...selections]);
    }
    const found = simulated.stdout.matchAll(/^Inst (\S+) \((\S+) /gm);
    const chosen = [...found].map(([, name = '', version = '']) => ({ name, version }));
    if (simulated.status === 0 && chosen.length > 0) return this.records(chosen);
    const { stdout, stderr } = simulated;
    const unmet = /The following packages have unmet dependencies:\n([\s\S]*)/.exec(stdout)?.[1];
    const reason = tail(unmet ?? stderr);
    throw new PandoError('PACKAGES_UNRESOLVABLE', `${selections.join(', ')}: ${reason}`, {
      remedy: "`apt-cache policy NAME` shows what the machine's package sources have",
    });
  }

  /** The records of packages of these versions, in the same order. */
  private async records(
    chosen: readonly { readonly name: string; readonly version: string }[],
  ): Promise<PackageRecord[]> {
    const words = chosen.map(({ name, version }) => `${name}=${version}`);
    const { stdout } = await this.apt('apt-cache', ['show', ...words]);
    const records = new Map<string, PackageRecord>();
    for (const stanza of stdout.split(/\n\n+/)) {
      const record = parseRecord(stanza);
      if (record !== undefined) records.set(`${record.name}=${record.version}`, record);
    }
    return words.map((word) => {
      const record = records.get(word);
      if (record !== undefined) return record;
      throw new PandoError('PACKAGE_NOT_FOUND', `the package sources have no record of ${word}`, {
        remedy: 'pull again; `apt-get update` if it stays so',
      });
    });
  }

  /**
   * Downloads packages, or finds them among earlier downloads.
   * @returns the paths of files with the records' sizes and SHA-256, in the same order
   * @throws PandoError what `download` throws
   */
  async downloadAll(records: readonly PackageRecord[]): Promise<string[]> {
    const missing: PackageRecord[] = [];
    for (const record of records) {
      if ((await hashIfPresent(this.placeOf(record))) !== record.sha256) missing.push(record);
    }
    if (missing.length > 1) {
      const size = missing.reduce((sum, record) => sum + record.size, 0);
      const phase = `downloading ${missing.length} packages (${(size / 1e6).toFixed(1)} MB)`;
      const words = missing.map(({ name, version }) => `${name}=${version}`);
      await this.apt('apt-get', ['download', ...words], phase);
      const folder = join(this.folder, 'download');
      const wanted = new Map(missing.map((record) => [record.sha256, record]));
      for (const name of await readdir(folder)) {
        const record = wanted.get(await sha256OfFile(join(folder, name)));
        if (record !== undefined) await rename(join(folder, name), this.placeOf(record));
        else await rm(join(folder, name), { force: true });
      }
    }
    // One by one, what has not come, and why.
    const paths: string[] = [];
    for (const record of records) paths.push(await this.download(record));
    return paths;
  }

  private placeOf({ name, sha256 }: PackageRecord): string {
    return join(this.packages, `${name}_${sha256}.deb`);
  }

  /**
   * Downloads a package, or finds it among earlier downloads.
   * @returns the path of a file with the record's size and SHA-256
   * @throws PandoError PACKAGE_DOWNLOAD_FAILED, PACKAGE_HASH_WRONG, TOOL_MISSING
   */
  async download(record: PackageRecord): Promise<string> {
    const path = this.placeOf(record);
    if ((await hashIfPresent(path)) === record.sha256) return path;
    const phase = `downloading ${record.name} (${(record.size / 1e6).toFixed(1)} MB)`;
    const args = ['download', `${record.name}=${record.version}`];
    let result = await this.apt('apt-get', args, phase);
    if (result.status !== 0 && !this.updated) {
      // The system's lists may name a version that the mirror has replaced since.
      await this.update();
      result = await this.apt('apt-get', args, phase);
    }
    const folder = join(this.folder, 'download');
    const file = (await readdir(folder)).find((name) => name.endsWith('.deb'));
    if (result.status !== 0 || file === undefined) {
      throw new PandoError(
        'PACKAGE_DOWNLOAD_FAILED',
        `package ${record.name} ${record.version}: ${tail(result.stderr)}`,
        { remedy: 'check the network, then pull again' },
      );
    }
    const downloaded = join(folder, file);
    const actual = await sha256OfFile(downloaded);
    if (actual !== record.sha256) {
      await rm(downloaded, { force: true });
      throw new PandoError(
        'PACKAGE_HASH_WRONG',
        `package ${record.name}: SHA-256 is ${actual}, the package list has ${record.sha256}`,
        { remedy: 'pull again; if it stays so, distrust the mirror or proxy' },
      );
    }
    await rename(downloaded, path);
    return path;
  }
}

async function hashIfPresent(path: string): Promise<string | undefined> {
  try {
    return await sha256OfFile(path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw coded(cause);
  }
}
