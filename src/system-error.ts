/**
 * What the system refuses (errno(3)), as coded errors with a remedy: the one table of them. Parts that
 * know more about what failed give an error of their own, and take the remedy from here; whatever a
 * part lets through is coded at the edge, where the library, a VM process or the command reports it.
 */
import { existsSync } from 'node:fs';
import { PandoError } from './error.js';

interface SystemFailure {
  readonly code: string;
  /** What happened, after the name of what it happened to. */
  readonly text: string;
  readonly remedy: string;
}

const PERMISSION: SystemFailure = {
  code: 'PERMISSION_DENIED',
  text: 'permission denied',
  remedy: 'name something that you may use, or change its permissions',
};
const NO_SPACE: SystemFailure = {
  code: 'DISK_FULL',
  text: 'no space left',
  remedy: 'free some space, or use a folder on another disk (PANDO_STORE, XDG_CACHE_HOME, TMPDIR)',
};
const DEVICE: SystemFailure = {
  code: 'DEVICE_ERROR',
  text: 'the device does not answer',
  remedy: 'check the disk or device; the system log may say more',
};
const BUSY: SystemFailure = {
  code: 'FILE_BUSY',
  text: 'in use',
  remedy: 'wait until no other program uses it',
};

/** By the system's own names. */
const SYSTEM_FAILURES: Readonly<Record<string, SystemFailure>> = {
  EMFILE: {
    code: 'TOO_MANY_OPEN_FILES',
    text: 'this process has too many files open',
    remedy: 'allow more open files (ulimit -n)',
  },
  ENFILE: {
    code: 'TOO_MANY_OPEN_FILES',
    text: 'the system has too many files open',
    remedy: 'end some programs, or allow more open files (sysctl fs.file-max)',
  },
  EFBIG: {
    code: 'FILE_TOO_LARGE',
    text: 'the file would be too large',
    remedy: 'allow larger files (ulimit -f)',
  },
  ENOSPC: NO_SPACE,
  EDQUOT: NO_SPACE,
  EACCES: PERMISSION,
  EPERM: PERMISSION,
  ENOTDIR: {
    code: 'NOT_A_FOLDER',
    text: 'a part of the path is not a folder',
    remedy: 'name a path whose folders are folders (PANDO_STORE, XDG_DATA_HOME, HOME)',
  },
  EISDIR: { code: 'IS_A_FOLDER', text: 'is a folder', remedy: 'name a file' },
  ENOENT: { code: 'FILE_NOT_FOUND', text: 'does not exist', remedy: 'check the path' },
  EEXIST: { code: 'FILE_EXISTS', text: 'exists already', remedy: 'name another path' },
  EROFS: {
    code: 'READ_ONLY_DISK',
    text: 'the file system takes no changes',
    remedy: 'use a folder on another disk (PANDO_STORE, XDG_CACHE_HOME)',
  },
  ELOOP: {
    code: 'PATH_LOOPS',
    text: 'too many symbolic links',
    remedy: 'check where the links of the path lead',
  },
  ENAMETOOLONG: {
    code: 'PATH_TOO_LONG',
    text: 'the path is too long',
    remedy: 'name a shorter path',
  },
  ENOMEM: {
    code: 'OUT_OF_MEMORY',
    text: 'not enough memory',
    remedy: 'free some memory, or run fewer or smaller VMs (ulimit -v, control groups)',
  },
  EAGAIN: {
    code: 'TOO_MANY_THREADS',
    text: 'no further process or thread may be started',
    remedy: 'allow more processes and threads (ulimit -u, pids.max), or run fewer VMs',
  },
  ENXIO: {
    code: 'NO_READER',
    text: 'nobody has the other end open',
    remedy: 'start its reader first',
  },
  EIO: DEVICE,
  ENODEV: DEVICE,
  EBUSY: BUSY,
  ETXTBSY: BUSY,
};

/** Node's own code for what the system refuses a thread; its message is the system's name. */
const THREAD_REFUSED = 'ERR_WORKER_INIT_FAILED';

/** What cures an error of the system, by its name (`ENOSPC`); undefined for one without a cure. */
export function remedyFor(name: string | undefined): string | undefined {
  return name === undefined ? undefined : SYSTEM_FAILURES[name]?.remedy;
}

/**
 * An error of the system as a coded one; anything else as it is.
 * @param cause what a call of Node threw
 */
export function coded(cause: unknown): unknown {
  if (!(cause instanceof Error) || cause instanceof PandoError) return cause;
  const { code = '', path, syscall, dest } = cause as NodeJS.ErrnoException & { dest?: string };
  const thread = code === THREAD_REFUSED;
  const name = thread ? (/\bE[A-Z]+$/.exec(cause.message)?.[0] ?? 'EAGAIN') : code;
  const failure = SYSTEM_FAILURES[name];
  // Errors of JavaScript may have such a code too; the system's name the call that failed.
  if (failure === undefined || (syscall === undefined && !thread)) return cause;
  if (name === 'ENOENT' && path?.startsWith('/proc/') === true && !existsSync('/proc/self')) {
    const remedy = 'mount it: `mount -t proc proc /proc`';
    return new PandoError('PROC_MISSING', `/proc is not mounted, ${path} is needed`, {
      remedy,
      cause,
    });
  }
  const subject = dest ?? path ?? (thread ? 'a thread' : syscall);
  return new PandoError(failure.code, `${subject}: ${failure.text} (${name})`, {
    remedy: failure.remedy,
    cause,
  });
}
