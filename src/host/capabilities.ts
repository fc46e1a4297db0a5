/**
 * What this host offers a VM, each answer found by trying. KVM's requests and its API version are
 * those of the kernel's "The Definitive KVM (Kernel-based Virtual Machine) API Documentation", 4.1, 4.2.
 */
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { errnoName, errnoOf, HostError } from './errno.js';
import { ioctl } from './ioctl.js';
import { addressOf, libc } from './libc.js';
import { createMemoryFile, isSealed, sealMemoryFile } from './memfd.js';
import { mapFileOver } from './mmap.js';
import { PAGE_UNTOUCHED, readPageStates } from './pagemap.js';

const KVM_DEVICE = '/dev/kvm';
const KVM_GET_API_VERSION = 0xae00;
const KVM_CREATE_VM = 0xae01;

/** An answer, with the system's own reason when it is no. */
export type Capability = { readonly works: true } | { readonly works: false; readonly why: string };

/** How far one gets with /dev/kvm. */
export interface KvmCapability {
  /** Whether the device node exists. */
  readonly present: boolean;
  /** 12 on every kernel since 2.6.22; undefined when the device cannot be opened. */
  readonly apiVersion: number | undefined;
  /** Whether an empty VM could be created. */
  readonly usable: Capability;
}

/** What `probeCapabilities` finds. */
export interface HostCapabilities {
  /** Bytes. */
  readonly pageSize: number;
  /** Image files can be mapped copy-on-write over guest RAM. */
  readonly imageMapping: Capability;
  /** Files outside the store can be copied and sealed. */
  readonly sealing: Capability;
  /** Memory that is merely read takes none: the kernel shows one page of zeros everywhere. */
  readonly zeroPage: Capability;
  readonly memory: MemoryCapability;
  readonly kvm: KvmCapability;
}

/** Bytes, from /proc/meminfo; `limit` is the control group's, undefined when there is none. */
export interface MemoryCapability {
  readonly total: number;
  readonly available: number;
  readonly limit: number | undefined;
}

/** Tries everything; throws for nothing that a machine may lack. Takes a few milliseconds. */
export function probeCapabilities(): HostCapabilities {
  return {
    pageSize: libc().getpagesize(),
    imageMapping: attempt(probeImageMapping),
    sealing: attempt(probeSealing),
    zeroPage: probeZeroPage(),
    memory: probeMemory(),
    kvm: probeKvm(),
  };
}

/** Runs a probe that returns a reason against, or undefined. */
function attempt(probe: () => string | undefined): Capability {
  try {
    const why = probe();
    return why === undefined ? { works: true } : { works: false, why };
  } catch (error) {
    if (error instanceof HostError) return { works: false, why: error.message };
    const name = errnoOf(error);
    if (name !== undefined) return { works: false, why: name };
    throw error;
  }
}

/** Maps the first page of the running program's file, writes to it, and maps it again. */
function probeImageMapping(): string | undefined {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const bytes = new Uint8Array(memory.buffer);
  const pageSize = libc().getpagesize();
  const fd = openSync('/proc/self/exe', 'r');
  try {
    const map = (): string | undefined => mapFileOver(addressOf(bytes), pageSize, fd, 0);
    const refused = map();
    if (refused !== undefined) return `mmap: ${refused}`;
    const before = bytes[0] ?? 0;
    bytes[0] = before ^ 0xff;
    const again = map();
    if (again !== undefined) return `mmap: ${again}`;
    return before !== 0 && bytes[0] === before ? undefined : 'a mapping does not show the file';
  } finally {
    closeSync(fd);
  }
}

function probeSealing(): string | undefined {
  const fd = createMemoryFile('pando-probe');
  try {
    sealMemoryFile(fd);
    return isSealed(fd) ? undefined : 'seals do not hold';
  } finally {
    closeSync(fd);
  }
}

/** Reads a page that nobody has touched, and looks whether it became this process's own. */
export function probeZeroPage(): Capability {
  return attempt(() => {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
    const bytes = new Uint8Array(memory.buffer);
    const pageSize = libc().getpagesize();
    const read = bytes[pageSize];
    const [state] = readPageStates(addressOf(bytes) + BigInt(pageSize), 1);
    return read === 0 && state === PAGE_UNTOUCHED ? undefined : 'a page that is read takes memory';
  });
}

function probeMemory(): MemoryCapability {
  const text = readFileSync('/proc/meminfo', 'latin1');
  const of = (name: string): number =>
    Number(new RegExp(`^${name}: +(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0) * 1024;
  const total = of('MemTotal');
  const constrained = process.constrainedMemory();
  const limit = constrained > 0 && constrained < total ? constrained : undefined;
  return { total, available: of('MemAvailable'), limit };
}

/** How far one gets with KVM; `device` is for tests. */
export function probeKvm(device = KVM_DEVICE): KvmCapability {
  if (!existsSync(device)) {
    const why = `${device} does not exist`;
    return { present: false, apiVersion: undefined, usable: { works: false, why } };
  }
  let apiVersion: number | undefined;
  const usable = attempt(() => {
    const fd = openSync(device, 'r+');
    try {
      const version = ioctl(fd, KVM_GET_API_VERSION);
      if (version < 0) return `KVM_GET_API_VERSION: ${errnoName(-version)}`;
      apiVersion = version;
      const vm = ioctl(fd, KVM_CREATE_VM);
      if (vm < 0) return `KVM_CREATE_VM: ${errnoName(-vm)}`;
      closeSync(vm);
      return undefined;
    } finally {
      closeSync(fd);
    }
  });
  return { present: true, apiVersion, usable };
}
