/**
 * The C library, bound on first use. Every other file of this folder calls through `libc()`; nothing
 * outside this folder does. Integer arguments of the variadic `ioctl`, `fcntl` and `prctl` travel in the same
 * registers as fixed ones (System V AMD64 ABI 3.2.3), so they are bound with a fixed signature.
 */
import { createRequire } from 'node:module';

type Koffi = typeof import('koffi');
type KoffiFunction = ReturnType<ReturnType<Koffi['load']>['func']>;

/** The calls that Pando makes. Pointers are bigint; -1 (or all ones) says that `errno` holds the cause. */
export interface Libc {
  mmap(
    address: bigint | null,
    length: number,
    prot: number,
    flags: number,
    fd: number,
    offset: number,
  ): bigint;
  munmap(address: bigint, length: number): number;
  madvise(address: bigint, length: number, advice: number): number;
  /** `argument` as a value: a number, or an address in the guest or in the host. */
  ioctlValue(fd: number, request: number, argument: number | bigint): number;
  /** `argument` as a pointer to these bytes, which the kernel may read and write in place. */
  ioctlBytes(fd: number, request: number, argument: Uint8Array): number;
  fcntl(fd: number, command: number, argument: number): number;
  dup2(source: number, target: number): number;
  memfdCreate(name: string, flags: number): number;
  eventfd(initial: number, flags: number): number;
  /** `handle` null: the global scope. */
  dlsym(handle: null, name: string): bigint | null;
  sigaction(signal: number, action: Uint8Array | null, old: Uint8Array | null): number;
  gettid(): number;
  tgkill(process: number, thread: number, signal: number): number;
  getpagesize(): number;
  getrandom(address: bigint, length: number, flags: number): number;
  prctl(option: number, argument: number): number;
  readonly fallocate: KoffiFunction;
  /** glibc alone has it (malloc_trim(3)); undefined elsewhere. */
  readonly mallocTrim: ((pad: number) => number) | undefined;
  /** glibc alone has its parameters (mallopt(3)); undefined elsewhere. */
  readonly mallopt: ((parameter: number, value: number) => number) | undefined;
}

interface Host {
  readonly koffi: Koffi;
  readonly libc: Libc;
}

let host: Host | undefined;

/** The addon of koffi for glibc, in a package that koffi depends on. */
const ADDON = '@koromix/koffi-linux-x64/linux_x64/koffi.node';

/**
 * The addon without koffi's own module, which spends 5 ms on finding out which addon is for this system
 * and adds what Pando does not call. That module comes in where the addon is elsewhere, or is not for this
 * C library. Synchronous, so that callers stay synchronous and importing this file costs nothing.
 */
function loadKoffi(): Koffi {
  const require = createRequire(import.meta.url);
  try {
    return require(ADDON) as Koffi;
  } catch {
    return require('koffi') as Koffi;
  }
}

function load(): Host {
  const koffi = loadKoffi();
  const library = koffi.load(null);
  const libc: Libc = {
    mmap: library.func('void *mmap(void *, size_t, int, int, int, int64_t)'),
    munmap: library.func('int munmap(void *, size_t)'),
    madvise: library.func('int madvise(void *, size_t, int)'),
    ioctlValue: library.func('ioctl', 'int', ['int', 'ulong', 'uintptr_t']),
    ioctlBytes: library.func('ioctl', 'int', ['int', 'ulong', 'void *']),
    fcntl: library.func('int fcntl(int, int, int)'),
    dup2: library.func('int dup2(int, int)'),
    memfdCreate: library.func('int memfd_create(const char *, unsigned int)'),
    eventfd: library.func('int eventfd(unsigned int, int)'),
    dlsym: library.func('void *dlsym(void *, const char *)'),
    sigaction: library.func('int sigaction(int, void *, void *)'),
    gettid: library.func('int gettid()'),
    tgkill: library.func('int tgkill(int, int, int)'),
    fallocate: library.func('int fallocate(int, int, int64_t, int64_t)'),
    getpagesize: library.func('int getpagesize()'),
    getrandom: library.func('int64_t getrandom(void *, size_t, unsigned int)'),
    prctl: library.func('int prctl(int, unsigned long)'),
    mallocTrim: optional(() => library.func('int malloc_trim(size_t)')),
    mallopt: optional(() => library.func('int mallopt(int, int)')),
  };
  return { koffi, libc };
}

/** What `bind` gives, or undefined where this C library has no such function. */
function optional<T>(bind: () => T): T | undefined {
  try {
    return bind();
  } catch {
    return undefined;
  }
}

function bound(): Host {
  host ??= load();
  return host;
}

/** The bound C library; loads it on the first call in each thread. */
export function libc(): Libc {
  return bound().libc;
}

/** The calling thread's `errno`, right after a call that failed. */
export function errno(): number {
  return bound().koffi.errno();
}

/** fallocate(2) on a thread of the pool; -1 when it fails. */
export function fallocateAsync(
  fd: number,
  mode: number,
  offset: number,
  length: number,
): Promise<number> {
  return new Promise((resolve, reject) => {
    libc().fallocate.async(fd, mode, offset, length, (error: unknown, result: number) => {
      if (error) reject(error);
      else resolve(result);
    });
  });
}

/** Host address of the first byte of a view; the view's buffer must outlive every use of it. */
export function addressOf(view: Uint8Array): bigint {
  return bound().koffi.address(view);
}

/** `length` bytes of foreign memory at a host address; valid until that memory is unmapped. */
export function viewOf(address: bigint, length: number): Uint8Array {
  return new Uint8Array(bound().koffi.view(address, length));
}
