/**
 * How a guest is told what to run in an image's root file system: the program pando-launch is the whole
 * of its initrd, and reads a configuration that stands behind the file system on the same device
 * (agent/launch/config.c; docs/rootfs.md).
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { PandoError } from '../error.js';
import { writeCpio } from '../loader/cpio-writer.js';
import type { ContainerConfig } from './manifest.js';

const PROGRAM = fileURLToPath(new URL('../../agent/pando-launch', import.meta.url));

/** The device has whole pages, and the launcher takes no more than this. */
const PAGE = 4096;
const BODY_LIMIT = 8 << 20;
const HEADER_SIZE = 16;
const MAGIC = 'pandorun';
const VERSION = 1;

/** What is run, and how. */
export interface Launch {
  readonly arguments: readonly string[];
  /** `NAME=value` each. */
  readonly environment: readonly string[];
  /** `user`, `user:group`; empty for root. */
  readonly user: string;
  /** Empty for `/`. */
  readonly directory: string;
  /** The console is somebody's terminal: it edits lines and sends signals. */
  readonly terminal: boolean;
  /** The guest sees what it has changed, at /dev/pando-changes. */
  readonly changes?: boolean;
  /** UUID, 32 digits, of the ext4 that takes what the guest writes; in its memory when absent. */
  readonly upper?: string;
}

/**
 * What an image runs: its entrypoint and command, or its entrypoint with the words given.
 * @throws PandoError COMMAND_MISSING
 */
export function launchOf(
  image: string,
  config: ContainerConfig,
  command: readonly string[],
  terminal: boolean,
): Launch {
  const words = [...config.entrypoint, ...(command.length > 0 ? command : config.cmd)];
  if (words.length === 0) {
    throw new PandoError('COMMAND_MISSING', `image ${image} names no command`, {
      remedy: `give one: pando run ${image} -- sh`,
    });
  }
  return {
    arguments: words,
    environment: config.env,
    user: config.user,
    directory: config.workdir,
    terminal,
  };
}

/**
 * The configuration as it stands on the device: a whole number of pages.
 * @throws PandoError COMMAND_INVALID
 */
export function formatLaunch(launch: Launch): Uint8Array {
  const fields: readonly (readonly [letter: string, text: string])[] = [
    ...launch.arguments.map((word) => ['a', word] as const),
    ...launch.environment.map((variable) => ['e', variable] as const),
    ['u', launch.user],
    ['d', launch.directory],
    ...(launch.terminal ? [['t', ''] as const] : []),
    ...(launch.upper === undefined ? [] : [['w', launch.upper] as const]),
    ...(launch.changes === true ? [['c', ''] as const] : []),
  ];
  const wrong = fields.find(([, text]) => text.includes('\0'));
  const body = Buffer.from(fields.map(([letter, text]) => `${letter}${text}\0`).join(''));
  if (wrong !== undefined || body.length > BODY_LIMIT) {
    const what = wrong === undefined ? `${body.length} bytes` : 'a zero byte';
    throw new PandoError('COMMAND_INVALID', `command and environment have ${what}`, {
      remedy: `they are texts of at most ${BODY_LIMIT} bytes together`,
    });
  }
  const bytes = Buffer.alloc(Math.ceil((HEADER_SIZE + body.length) / PAGE) * PAGE);
  bytes.write(MAGIC, 0, 'latin1');
  bytes.writeUInt32LE(VERSION, 8);
  bytes.writeUInt32LE(body.length, 12);
  body.copy(bytes, HEADER_SIZE);
  return bytes;
}

/** The initrd: pando-launch, and the console that the kernel opens for it. */
export function launchInitrd(): Uint8Array {
  const folders = ['dev', 'proc', 'sys'];
  return writeCpio([
    ...folders.map((name) => ({ kind: 'directory', name, permissions: 0o755 }) as const),
    { kind: 'character', name: 'dev/console', permissions: 0o600, major: 5, minor: 1 },
    { kind: 'file', name: 'init', permissions: 0o755, content: readFileSync(PROGRAM) },
  ]);
}
