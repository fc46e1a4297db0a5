/**
 * Layers laid one over the other to one tree (OCI Image Format Specification, layer.md, "Applying
 * Changesets"). Paths are resolved in the tree itself, as a process in a changed root would see it: a
 * symbolic link's target and `..` never leave it. A whiteout hides what lower layers brought, never what
 * its own layer brings.
 */
import { PandoError } from '../../error.js';
import { type Directory, displayName, type Inode } from '../file-tree.js';
import type { LayerEntry } from './layer-entry.js';

const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';
/** Names of aufs's own files begin so; only the opaque mark means something. */
const WHITEOUT_META = '.wh..wh.';
/** Links followed on the way to one path (MAXSYMLINKS of Linux). */
const LINK_LIMIT = 40;
/** Directories that archives name only as part of paths: one entry may imply two thousand. */
const IMPLIED_LIMIT = 100_000;

/** A directory that an archive names only as part of a path. */
function impliedDirectory(): Directory {
  return {
    ...{ permissions: 0o755, uid: 0, gid: 0, mtime: 0, mtimeNanoseconds: 0, xattrs: new Map() },
    kind: 'directory',
    entries: new Map(),
  };
}

const partsOf = (path: string) => path.split('/').filter((part) => part !== '' && part !== '.');

function conflict(entry: LayerEntry, what: string): PandoError {
  const name = JSON.stringify(displayName(entry.name));
  return new PandoError('LAYER_ENTRY_INVALID', `layer entry ${name}: ${what}`, {
    remedy: 'the image was built wrong: build it again',
  });
}

/** A place in the tree: a name in a directory, or the root itself. */
interface Place {
  /** From the root down to the directory that has the name. */
  readonly trail: readonly Directory[];
  /** Names of `trail` behind the root. */
  readonly names: readonly string[];
  /** Empty for the root. */
  readonly name: string;
}

/** A tree that layers are laid on, the lowest first. */
export class LayeredTree {
  root: Directory = impliedDirectory();
  /** Names that the current layer has brought or passed through, by their directory. */
  private touched = new Map<Directory, Set<string>>();
  private implied = 0;

  /**
   * Lays a layer on the tree.
   * @param blob what the files' data is called
   * @throws PandoError LAYER_ENTRY_INVALID
   */
  apply(entries: Iterable<LayerEntry>, blob: string): void {
    this.touched = new Map();
    for (const entry of entries) this.applyEntry(entry, blob);
  }

  private applyEntry(entry: LayerEntry, blob: string): void {
    const own = partsOf(entry.name).at(-1) ?? '';
    if (own.startsWith(WHITEOUT)) {
      this.applyWhiteout(entry, own);
      return;
    }
    const place = this.resolve(entry, entry.name, true);
    // A link's member is looked up before its own name is taken away: they may be the same.
    const inode = entry.kind === 'link' ? this.linked(entry) : this.inodeOf(entry, blob);
    if (place === undefined) throw conflict(entry, 'a path that cannot be made');
    this.set(entry, place, inode);
  }

  /**
   * Walks to the directory of a path's last part, through links, making what is missing.
   * @returns undefined when `make` is not set and a part is missing
   */
  private resolve(entry: LayerEntry, path: string, make: boolean): Place | undefined {
    const trail = [this.root];
    const names: string[] = [];
    const waiting = partsOf(path).reverse();
    let links = 0;
    for (;;) {
      const name = waiting.pop();
      if (name === undefined) return { trail, names, name: '' };
      if (name === '..') {
        if (trail.length > 1) {
          trail.pop();
          names.pop();
        }
        continue;
      }
      const directory = trail.at(-1)!;
      if (waiting.length === 0) return { trail, names, name };
      const found = directory.entries.get(name);
      if (found?.kind === 'directory') {
        trail.push(found);
        names.push(name);
      } else if (found?.kind === 'symlink') {
        if (++links > LINK_LIMIT) throw conflict(entry, 'a path through too many symbolic links');
        if (found.target.startsWith('/')) {
          trail.length = 1;
          names.length = 0;
        }
        waiting.push(...partsOf(found.target).reverse());
      } else if (found !== undefined) {
        throw conflict(entry, `a path through ${JSON.stringify(displayName(name))}, no directory`);
      } else if (make) {
        if (++this.implied > IMPLIED_LIMIT) {
          throw conflict(
            entry,
            `more than ${IMPLIED_LIMIT} directories without entries of their own`,
          );
        }
        const made = impliedDirectory();
        directory.entries.set(name, made);
        trail.push(made);
        names.push(name);
      } else return undefined;
    }
  }

  private linked(entry: LayerEntry): Inode {
    const place = this.resolve(entry, entry.linkName, false);
    const found = place && place.name !== '' && place.trail.at(-1)!.entries.get(place.name);
    const shown = JSON.stringify(displayName(entry.linkName));
    if (!found) throw conflict(entry, `a hard link to ${shown}, which is not there`);
    if (found.kind === 'directory') throw conflict(entry, `a hard link to ${shown}, a directory`);
    return found;
  }

  private inodeOf(entry: LayerEntry, blob: string): Inode {
    const { permissions, uid, gid, mtime, mtimeNanoseconds, xattrs, size, dataOffset } = entry;
    const attributes = { permissions, uid, gid, mtime, mtimeNanoseconds, xattrs };
    switch (entry.kind) {
      case 'file': {
        const data = size === 0 ? { blob: '', offset: 0 } : { blob, offset: dataOffset };
        return { ...attributes, kind: 'file', size, data };
      }
      case 'directory':
        return { ...attributes, kind: 'directory', entries: new Map() };
      case 'symlink':
        return { ...attributes, kind: 'symlink', target: entry.linkName };
      case 'character':
      case 'block':
        return { ...attributes, kind: entry.kind, major: entry.major, minor: entry.minor };
      case 'fifo':
        return { ...attributes, kind: 'fifo' };
      default:
        throw conflict(entry, `the kind ${JSON.stringify(entry.kind)}`);
    }
  }

  private set(entry: LayerEntry, { trail, names, name }: Place, inode: Inode): void {
    // Everything on the way is of this layer, too: a whiteout of it would hide what stands here.
    names.forEach((part, index) => {
      this.touch(trail[index]!, part);
    });
    const parent = trail.at(-1)!;
    if (name === '') {
      if (inode.kind !== 'directory') throw conflict(entry, 'a root that is no directory');
      this.adoptAttributes(trail, names, inode);
      return;
    }
    const before = parent.entries.get(name);
    this.touch(parent, name);
    if (before?.kind === 'directory' && inode.kind === 'directory') {
      this.adoptAttributes([...trail, before], [...names, name], inode);
    } else parent.entries.set(name, inode);
  }

  /** Puts a directory with the same entries and other attributes in the place of the trail's last. */
  private adoptAttributes(
    trail: readonly Directory[],
    names: readonly string[],
    attributes: Directory,
  ): void {
    const before = trail.at(-1)!;
    const after: Directory = { ...attributes, entries: before.entries };
    const touched = this.touched.get(before);
    if (touched !== undefined) this.touched.set(after, touched);
    if (trail.length === 1) this.root = after;
    else trail.at(-2)!.entries.set(names.at(-1)!, after);
  }

  private touch(directory: Directory, name: string): void {
    const names = this.touched.get(directory) ?? new Set();
    this.touched.set(directory, names.add(name));
  }

  private applyWhiteout(entry: LayerEntry, own: string): void {
    const place = this.resolve(entry, entry.name, false);
    if (place === undefined) return;
    const directory = place.trail.at(-1)!;
    if (own === OPAQUE) this.hideLower(directory);
    else if (!own.startsWith(WHITEOUT_META)) this.hide(directory, own.slice(WHITEOUT.length));
  }

  /** Takes a name of lower layers away; of a directory that both have, what lower layers put in. */
  private hide(directory: Directory, name: string): void {
    if (this.touched.get(directory)?.has(name) !== true) {
      directory.entries.delete(name);
      return;
    }
    const kept = directory.entries.get(name);
    if (kept?.kind === 'directory') this.hideLower(kept);
  }

  private hideLower(top: Directory): void {
    const waiting = [top];
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      for (const [name, inode] of [...next.entries]) {
        if (this.touched.get(next)?.has(name) !== true) next.entries.delete(name);
        else if (inode.kind === 'directory') waiting.push(inode);
      }
    }
  }
}
