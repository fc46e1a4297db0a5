/** Files as the agent tells of them (docs/agent.md, "Entries"). */
import { PandoError } from '../../error.js';

/** Bytes before link target and name. */
const ENTRY_FIXED = 60;

/** Kinds of files, by the type bits of `st_mode` (inode(7)). */
const KINDS = new Map<number, FileKind>([
  [0o100000, 'file'],
  [0o040000, 'directory'],
  [0o120000, 'symlink'],
  [0o010000, 'fifo'],
  [0o140000, 'socket'],
  [0o060000, 'block'],
  [0o020000, 'character'],
]);

export type FileKind =
  | 'file'
  | 'directory'
  | 'symlink'
  | 'fifo'
  | 'socket'
  | 'block'
  | 'character'
  | 'unknown';

/** A file of a guest. */
export interface FileEntry {
  /** The path that was asked for; in a listing, the path below the folder that was listed. */
  readonly path: string;
  readonly kind: FileKind;
  /** Permission bits, 0–07777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly links: number;
  /** Bytes. */
  readonly size: number;
  /** Bytes of its blocks. */
  readonly allocated: number;
  readonly inode: bigint;
  /** Nanoseconds since 1970. */
  readonly modified: bigint;
  readonly changed: bigint;
  /** Of a symbolic link. */
  readonly target: string | undefined;
}

/**
 * Reads an entry.
 * @throws PandoError AGENT_PROTOCOL
 */
export function decodeEntry(payload: Buffer): FileEntry {
  const targetLength = payload.length < ENTRY_FIXED ? Number.NaN : payload.readUInt32LE(56);
  if (!(ENTRY_FIXED + targetLength <= payload.length)) {
    throw new PandoError(
      'AGENT_PROTOCOL',
      `the agent sent an entry of ${payload.length} bytes with a target of ${targetLength}`,
      { remedy: 'the guest is not to be trusted any more: end it' },
    );
  }
  const mode = payload.readUInt32LE(0);
  const kind = KINDS.get(mode & 0o170000) ?? 'unknown';
  const nameAt = ENTRY_FIXED + targetLength;
  return {
    path: payload.toString('utf8', nameAt),
    kind,
    mode: mode & 0o7777,
    uid: payload.readUInt32LE(4),
    gid: payload.readUInt32LE(8),
    links: payload.readUInt32LE(12),
    size: Number(payload.readBigUInt64LE(16)),
    allocated: Number(payload.readBigUInt64LE(48)),
    inode: payload.readBigUInt64LE(24),
    modified: payload.readBigUInt64LE(32),
    changed: payload.readBigUInt64LE(40),
    target: kind === 'symlink' ? payload.toString('utf8', ENTRY_FIXED, nameAt) : undefined,
  };
}
