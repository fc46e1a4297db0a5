/**
 * Templates that clients have built: which builds there are, which tag means which, and what their commands get.
 * One file a template, `served/OWNER.NAME.json` in the store; the machine of a build is a snapshot there.
 */
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { PandoError, reasonOf } from '../../error.js';
import { publishReplacing, removeStale, writeTemporary } from '../../image/atomic-file.js';
import { SnapshotStore } from '../../snapshot/snapshot-store.js';
import { RequestError } from '../http.js';
import { servedFolders } from '../served-folders.js';

const FORMAT = 1;
/** The tag of a name that has none. */
export const DEFAULT_TAG = 'default';
const WORD = /^[a-z0-9][a-z0-9._-]{0,63}$/i;

/** What commands of a sandbox get that is made from a build. */
export interface BuildState {
  readonly env: Readonly<Record<string, string>>;
  readonly user: string;
  /** The user's home when absent. */
  readonly cwd?: string;
}

/** A build that is done. */
export interface BuildRecord {
  readonly buildID: string;
  readonly createdAt: string;
  readonly finishedAt: string;
  /** Bytes of guest RAM. */
  readonly memory: number;
  readonly state: BuildState;
}

interface TagRecord {
  readonly tag: string;
  readonly buildID: string;
  readonly createdAt: string;
}

export interface TemplateRecord {
  readonly templateID: string;
  readonly name: string;
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly builds: readonly BuildRecord[];
  readonly tags: readonly TagRecord[];
}

/** `NAME` or `NAME:TAG`. @throws RequestError 400 */
export function parseTemplateName(text: string): { readonly name: string; readonly tag: string } {
  const [name = '', tag = DEFAULT_TAG, ...more] = text.split(':');
  if (WORD.test(name) && WORD.test(tag) && more.length === 0) return { name, tag };
  const rule = 'up to 64 letters, digits, dots, hyphens and underscores each';
  throw new RequestError(400, `${JSON.stringify(text)} is not NAME or NAME:TAG, ${rule}`);
}

const BUILT = 'built-';

/** The snapshot of a build. */
export function buildSnapshot(owner: string, buildID: string): string {
  return `${BUILT}${owner}-${buildID}`;
}

/** Whether a snapshot is one of a build. */
export function isBuildSnapshot(name: string): boolean {
  return name.startsWith(BUILT);
}

/** A template with some tags moved to a build. */
function tagged(
  template: TemplateRecord,
  buildID: string,
  tags: readonly string[],
): TemplateRecord['tags'] {
  const createdAt = new Date().toISOString();
  return [
    ...template.tags.filter(({ tag }) => !tags.includes(tag)),
    ...tags.map((tag) => ({ tag, buildID, createdAt })),
  ];
}

export class TemplateStore {
  readonly #folder = servedFolders().templates;
  readonly #temporary = servedFolders().temporary;
  /** Changes, one after the other. */
  #change: Promise<unknown> = Promise.resolve();

  #path(owner: string, name: string): string {
    return join(this.#folder, `${owner}.${name}.json`);
  }

  async #read(path: string): Promise<TemplateRecord | undefined> {
    let text: string;
    try {
      text = await readFile(path, 'utf8');
    } catch (error) {
      if (reasonOf(error) === 'ENOENT') return undefined;
      throw error;
    }
    const { format, ...template } = JSON.parse(text) as TemplateRecord & { format: number };
    if (format === FORMAT) return template;
    throw new PandoError('TEMPLATE_FORMAT', `${path} has format ${format}, not ${FORMAT}`, {
      remedy: 'build the template again',
    });
  }

  async #write(owner: string, template: TemplateRecord): Promise<void> {
    await mkdir(this.#temporary, { recursive: true });
    await removeStale(this.#temporary);
    const bytes = Buffer.from(JSON.stringify({ format: FORMAT, ...template }));
    await publishReplacing(
      await writeTemporary(this.#temporary, bytes, 0o600),
      this.#path(owner, template.name),
    );
  }

  async #next<T>(change: () => Promise<T>): Promise<T> {
    const done = this.#change.then(change);
    this.#change = done.catch(() => undefined);
    return done;
  }

  /** Templates of an owner, in order of their names. */
  async list(owner: string): Promise<TemplateRecord[]> {
    const names = await readdir(this.#folder).catch(() => []);
    const own = names.filter((name) => name.startsWith(`${owner}.`) && name.endsWith('.json'));
    const templates = await Promise.all(
      own.sort().map((name) => this.#read(join(this.#folder, name))),
    );
    return templates.filter((template) => template !== undefined);
  }

  /** Snapshots of all builds, whosever they are. */
  async machines(): Promise<Set<string>> {
    const machines = new Set<string>();
    const names = await readdir(this.#folder).catch(() => []);
    for (const name of names.filter((each) => each.endsWith('.json'))) {
      const template = await this.#read(join(this.#folder, name));
      const [owner = ''] = name.split('.');
      for (const { buildID } of template?.builds ?? []) machines.add(buildSnapshot(owner, buildID));
    }
    return machines;
  }

  /** @param word name or id */
  async find(owner: string, word: string): Promise<TemplateRecord | undefined> {
    const named = WORD.test(word) ? await this.#read(this.#path(owner, word)) : undefined;
    return named ?? (await this.list(owner)).find(({ templateID }) => templateID === word);
  }

  /** @throws RequestError 404 */
  async get(owner: string, word: string): Promise<TemplateRecord> {
    const found = await this.find(owner, word);
    if (found !== undefined) return found;
    throw new RequestError(404, `there is no template ${word}`);
  }

  /** The build that `NAME`, `NAME:TAG` or an id means. */
  async build(owner: string, text: string): Promise<BuildRecord | undefined> {
    const { name, tag } = parseTemplateName(text);
    const template = await this.find(owner, name);
    const buildID = template?.tags.find((each) => each.tag === tag)?.buildID;
    return template?.builds.find((each) => each.buildID === buildID);
  }

  /** Adds a build; those that no tag means any more go. */
  async add(
    owner: string,
    { templateID, name }: Pick<TemplateRecord, 'templateID' | 'name'>,
    build: BuildRecord,
    tags: readonly string[],
  ): Promise<void> {
    await this.#next(async () => {
      const now = new Date().toISOString();
      const fresh = { templateID, name, createdAt: now, updatedAt: now, builds: [], tags: [] };
      const template = (await this.#read(this.#path(owner, name))) ?? fresh;
      const builds = [...template.builds, build];
      const added = { ...template, builds, tags: tagged(template, build.buildID, tags) };
      await this.#keep(owner, added);
    });
  }

  /** Writes a template without the builds that have no tag. */
  async #keep(owner: string, template: TemplateRecord): Promise<void> {
    const isMeant = ({ buildID }: BuildRecord): boolean =>
      template.tags.some((each) => each.buildID === buildID);
    const updatedAt = new Date().toISOString();
    await this.#write(owner, { ...template, updatedAt, builds: template.builds.filter(isMeant) });
    for (const build of template.builds.filter((each) => !isMeant(each))) {
      await removeMachine(owner, build);
    }
  }

  /** Gives a build more tags. @throws RequestError 404 */
  async assign(owner: string, target: string, tags: readonly string[]): Promise<string> {
    return this.#next(async () => {
      const build = await this.build(owner, target);
      if (build === undefined) throw new RequestError(404, `there is no template ${target}`);
      const template = await this.get(owner, parseTemplateName(target).name);
      await this.#keep(owner, { ...template, tags: tagged(template, build.buildID, tags) });
      return build.buildID;
    });
  }

  /** Takes tags away; a build without any goes. @throws RequestError 404 */
  async unassign(owner: string, name: string, tags: readonly string[]): Promise<void> {
    await this.#next(async () => {
      const template = await this.get(owner, name);
      const left = template.tags.filter(({ tag }) => !tags.includes(tag));
      await this.#keep(owner, { ...template, tags: left });
    });
  }

  /** Removes a template with all of its builds; false when there is none. */
  async remove(owner: string, word: string): Promise<boolean> {
    return this.#next(async () => {
      const template = await this.find(owner, word);
      if (template === undefined) return false;
      await rm(this.#path(owner, template.name), { force: true });
      for (const build of template.builds) await removeMachine(owner, build);
      return true;
    });
  }
}

async function removeMachine(owner: string, { buildID }: BuildRecord): Promise<void> {
  try {
    await new SnapshotStore().remove(buildSnapshot(owner, buildID));
  } catch (error) {
    if (!(error instanceof PandoError) || error.code !== 'SNAPSHOT_NOT_FOUND') throw error;
  }
}
