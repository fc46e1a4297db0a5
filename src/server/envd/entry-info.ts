/** A file of a guest as E2B's clients know it. */
import { posix } from 'node:path';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { PandoError } from '../../error.js';
import type { FileEntry, FileKind } from '../../sandbox/agent/entry.js';
import type { HostedSandbox } from '../hosted-sandbox.js';
import { type EntryInfoSchema, FileType } from '../protocol/filesystem_pb.js';

const NANOSECONDS = 1_000_000_000n;

const TYPES = new Map<FileKind, FileType>([
  ['file', FileType.FILE],
  ['directory', FileType.DIRECTORY],
  ['symlink', FileType.SYMLINK],
]);

const KIND_LETTERS = new Map<FileKind, string>([
  ['directory', 'd'],
  ['symlink', 'l'],
  ['fifo', 'p'],
  ['socket', 's'],
  ['block', 'b'],
  ['character', 'c'],
]);

/** Kind and permission bits as ls(1) prints them. */
export function permissionsOf(kind: FileKind, mode: number): string {
  const bits = [...'rwxrwxrwx'].map((letter, i) => (mode & (0o400 >> i) ? letter : '-')).join('');
  return (KIND_LETTERS.get(kind) ?? '-') + bits;
}

/** The kind of what a link leads to; a link's own where that is not there. */
async function kindOf(hosted: HostedSandbox, path: string, entry: FileEntry): Promise<FileKind> {
  if (entry.kind !== 'symlink') return entry.kind;
  try {
    return (await hosted.sandbox.files.stat(path)).kind;
  } catch (error) {
    if (error instanceof PandoError && error.code.startsWith('GUEST_')) return 'symlink';
    throw error;
  }
}

/** @param path absolute */
export async function entryInfo(
  hosted: HostedSandbox,
  path: string,
  entry: FileEntry,
): Promise<MessageInitShape<typeof EntryInfoSchema>> {
  const kind = await kindOf(hosted, path, entry);
  return {
    name: posix.basename(path),
    type: TYPES.get(kind) ?? FileType.UNSPECIFIED,
    path,
    size: BigInt(entry.size),
    mode: entry.mode,
    permissions: permissionsOf(entry.kind, entry.mode),
    ...(await hosted.users.names(entry.uid, entry.gid)),
    modifiedTime: {
      seconds: entry.modified / NANOSECONDS,
      nanos: Number(entry.modified % NANOSECONDS),
    },
    ...(entry.target !== undefined && {
      symlinkTarget: posix.resolve(posix.dirname(path), entry.target),
    }),
  };
}
