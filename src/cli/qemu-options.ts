/**
 * QEMU's command line (QEMU "System Emulation" manual, invocation) as far as it describes a machine that
 * Pando has: a PVH kernel on a PC without graphics. What has a meaning here is done; what changes nothing
 * for the guest is named in a note; what would change the guest is an error.
 */
import { PandoError } from '../error.js';
import { sizeOf } from './terminal/units.js';

/** What a QEMU command line asks for. */
export interface QemuRequest {
  readonly kernel: string;
  readonly initrd: string | undefined;
  readonly append: string | undefined;
  /** Bytes. */
  readonly memory: number;
  readonly cpus: number;
  readonly accelerator: 'auto' | 'wasm';
  /** The accelerators as the command line names them; undefined when it names none. */
  readonly accelerators: string | undefined;
  /** As `pando run --serial` takes it. */
  readonly serial: string;
  /** Whether a guest that resets boots again. */
  readonly reboot: boolean;
  /** The file that gets the process's number, as long as it runs. */
  readonly pidFile: string | undefined;
  /** Names of what has no meaning here, each once, in the order of the command line. */
  readonly ignored: readonly { readonly word: string; readonly why: string }[];
}

/** What is noted where KVM or TCG was asked for and is not what runs. */
export const WASM_INSTEAD = 'the wasm accelerator takes its place';

/** QEMU's own default of -m. */
const DEFAULT_MEMORY = 128 * 2 ** 20;

function unsupported(word: string, why: string): PandoError {
  return new PandoError('QEMU_OPTION_UNSUPPORTED', `${word}: ${why}`, {
    remedy: 'leave it out, or use `pando run`, which has options of its own',
  });
}

/** Size as QEMU reads it: MiB when there is no unit. */
function parseMemory(text: string): number {
  const size = text.split(',')[0]?.replace(/^size=/, '') ?? '';
  const bytes = sizeOf(size, 'M');
  if (bytes === undefined) {
    throw new PandoError('QEMU_OPTION_INVALID', `-m ${text} is no size`, {
      remedy: 'write it like 512M or 1G',
    });
  }
  if (/,(slots|maxmem)=/.test(text))
    throw unsupported(`-m ${text}`, 'memory cannot be added later');
  return bytes;
}

function parseCpus(text: string): number {
  const [first = '', ...rest] = text.split(',');
  const count = Number(first.replace(/^cpus=/, ''));
  if (!Number.isInteger(count) || count < 1) {
    throw new PandoError('QEMU_OPTION_INVALID', `-smp ${text} is no number of processors`);
  }
  for (const word of rest) {
    const [name, value] = word.split('=');
    const product = ['sockets', 'cores', 'threads', 'dies', 'clusters'].includes(name ?? '');
    if (name === 'maxcpus' && value === String(count)) continue;
    if (product && (value === '1' || value === String(count))) continue;
    throw unsupported(`-smp ${word}`, 'processors have no topology here and none can be added');
  }
  return count;
}

/** Devices and features that the machine does not have, so switching them off is what it does anyway. */
const ABSENT = 'this machine has none';
const MACHINE_ABSENT = new Set([
  'sata',
  'smbus',
  'vmport',
  'usb',
  'graphics',
  'hpet',
  'pcspk',
  'smm',
]);
const MACHINE_NEUTRAL: Readonly<Record<string, string>> = {
  nvdimm: 'there is no NVDIMM to put in',
  dump_guest_core: 'it concerns core dumps of the monitor',
  mem_merge: 'it concerns how the host keeps pages',
  'mem-merge': 'it concerns how the host keeps pages',
  'dump-guest-core': 'it concerns core dumps of the monitor',
};
const NO_BACKEND = 'a serial port goes to stdio, to a file or nowhere';
const MACHINES = /^(q35|pc|microvm)(-|$)/;

const isOff = (value: string | undefined): boolean => value === 'off' || value === 'no';
const isOn = (value: string | undefined): boolean =>
  value === undefined || value === 'on' || value === 'yes';

/** Accelerators in QEMU's order of preference, as `kvm:tcg`; the guest sees the same machine on all. */
function parseAccelerator(text: string): QemuRequest['accelerator'] {
  const names = text.split(':');
  if (names.some((name) => name !== 'kvm' && name !== 'tcg')) {
    throw unsupported(`accel=${text}`, 'accelerators are kvm and tcg, the latter being wasm here');
  }
  return names[0] === 'kvm' ? 'auto' : 'wasm';
}

const IN_MEMORY = 'guest RAM is where the accelerator has it';
const NO_FIRMWARE = 'the kernel is entered by PVH, without firmware';
const NOTHING_TO_SAY = 'there is nothing of the kind to log';

/** Options without an argument that change nothing for the guest. */
const NEUTRAL_FLAGS: Readonly<Record<string, string>> = {
  '-mem-prealloc': IN_MEMORY,
  '-no-kvm-irqchip': 'interrupt controllers are where the accelerator has them',
  '-no-shutdown': 'the monitor ends with its guest',
  '-nodefconfig': 'no configuration files are read',
  '-only-migratable': 'it concerns how the monitor moves',
  '-snapshot': 'there are no disks',
  '-no-hpet': ABSENT,
  '-no-user-config': 'no configuration files are read',
  '-nodefaults': 'there are no default devices',
  '-no-fd-bootchk': 'there is no firmware',
  '-nographic': 'there is no display; the console is on the terminal anyway',
};

/** Options with an argument; undefined when it is supported in this form. */
function neutralReason(option: string, value: string): string | undefined {
  switch (option) {
    case '-bios':
    case '-boot':
    case '-L':
      return NO_FIRMWARE;
    case '-vga':
    case '-display':
    case '-monitor':
    case '-parallel':
    case '-net':
    case '-nic':
    case '-vnc':
    case '-qmp':
      return value === 'none' ? ABSENT : undefined;
    case '-audio':
    case '-audiodev':
      return /^none(,|$)/.test(value) || /(^|,)driver=none(,|$)/.test(value) ? ABSENT : undefined;
    case '-msg':
    case '-d':
    case '-D':
    case '-trace':
      return NOTHING_TO_SAY;
    case '-sandbox':
      return 'it concerns what the monitor may do';
    case '-mem-path':
    case '-overcommit':
      return IN_MEMORY;
    case '-uuid':
      return 'there is no SMBIOS to show it';
    case '-k':
      return 'there is no keyboard';
    case '-mon':
      return 'there is no monitor to talk to';
    case '-cpu':
      return value === 'host' || value === 'max' ? 'the accelerator decides' : undefined;
    case '-name':
      return 'it names the process';
    case '-rtc':
      return /^(base=utc|clock=host|base=utc,clock=host)$/.test(value)
        ? 'the clock is the host’s, in UTC'
        : undefined;
    default:
      return undefined;
  }
}

/** Every option that takes an argument and is known at all. */
const WITH_VALUE = new Set([
  ...[
    '-D',
    '-L',
    '-audio',
    '-audiodev',
    '-boot',
    '-chardev',
    '-d',
    '-k',
    '-mem-path',
    '-mon',
    '-msg',
  ],
  ...['-net', '-nic', '-overcommit', '-pidfile', '-qmp', '-sandbox', '-trace', '-uuid', '-vnc'],
  '-bios',
  '-vga',
  '-display',
  '-monitor',
  '-parallel',
  '-cpu',
  '-name',
  '-rtc',
  '-machine',
  '-M',
  '-accel',
  '-m',
  '-smp',
  '-kernel',
  '-initrd',
  '-append',
  '-serial',
]);

/** A character device as `-serial` has it: `stdio`, `mon:stdio`, `none`, `null` or `file:PATH`. */
function parseSerialBackend(text: string): string | undefined {
  if (text === 'stdio' || text === 'mon:stdio') return 'stdio';
  if (text === 'none' || text === 'null') return 'null';
  return text.startsWith('file:') && text.length > 5 ? text : undefined;
}

/** `-chardev BACKEND,id=ID,...`: its id, and the same in one word; undefined for what there is not. */
function parseChardev(text: string): { id: string; backend: string } | undefined {
  const [kind = '', ...properties] = text.split(',');
  const of = new Map<string, string>();
  for (const property of properties) {
    const [name = '', value = 'on'] = property.split('=', 2);
    of.set(name, value);
  }
  const id = of.get('id');
  const path = of.get('path');
  const known = [...of.keys()].every((name) => /^(id|mux|signal|path|append|logfile)$/.test(name));
  if (id === undefined || !known || isOn(of.get('append') ?? 'off') || of.has('logfile')) {
    return undefined;
  }
  if (kind === 'stdio' || kind === 'null') return { id, backend: kind };
  return kind === 'file' && path ? { id, backend: `file:${path}` } : undefined;
}

/**
 * @param words QEMU's command line without the program's name
 * @throws PandoError QEMU_OPTION_UNSUPPORTED, QEMU_OPTION_INVALID, QEMU_KERNEL_MISSING
 */
export function parseQemuCommandLine(words: readonly string[]): QemuRequest {
  let kernel: string | undefined;
  let initrd: string | undefined;
  let append: string | undefined;
  let memory = DEFAULT_MEMORY;
  let cpus = 1;
  let accelerator: QemuRequest['accelerator'] | undefined;
  let serial: string | undefined;
  let pidFile: string | undefined;
  let reboot = true;
  const chardevs = new Map<string, string>();
  let accelerators: string | undefined;
  const ignored = new Map<string, string>();
  const noteAccelerator = (text: string): void => {
    accelerator = parseAccelerator(text);
    accelerators = text;
    if (accelerator === 'wasm') ignored.set(`accel=${text}`, WASM_INSTEAD);
  };
  const machine = (text: string): void => {
    for (const [index, property] of text.split(',').entries()) {
      const [name = '', value] = property.split('=') as [string, string?];
      if (name === 'type' || (index === 0 && value === undefined)) {
        const type = value ?? name;
        if (!MACHINES.test(type)) throw unsupported(`-machine ${type}`, 'the machine is a PC');
        ignored.set(`-machine ${type}`, 'there is one machine, a PC without PCI');
      } else if (name === 'accel') noteAccelerator(value ?? '');
      else if (name === 'kernel_irqchip' || name === 'kernel-irqchip') {
        ignored.set(property, 'interrupt controllers are where the accelerator has them');
      } else if (MACHINE_NEUTRAL[name] !== undefined) ignored.set(property, MACHINE_NEUTRAL[name]);
      else if (MACHINE_ABSENT.has(name) && isOff(value)) ignored.set(property, ABSENT);
      else if (name === 'acpi' && isOn(value)) continue;
      else throw unsupported(`-machine ${property}`, 'the machine has no such part');
    }
  };
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? '';
    // QEMU takes options with one or two dashes.
    const option = word.replace(/^--/, '-');
    if (option === '-enable-kvm') {
      noteAccelerator('kvm');
      continue;
    }
    if (option === '-no-reboot') {
      reboot = false;
      continue;
    }
    const flag = NEUTRAL_FLAGS[option];
    if (flag !== undefined) {
      ignored.set(option, flag);
      continue;
    }
    if (!WITH_VALUE.has(option)) {
      throw unsupported(word, 'there is no such device or option here');
    }
    const value = words[++at];
    if (value === undefined) {
      throw new PandoError('QEMU_OPTION_INVALID', `${word} needs an argument`);
    }
    const reason = neutralReason(option, value);
    if (reason !== undefined) ignored.set(`${option} ${value}`, reason);
    else if (option === '-machine' || option === '-M') machine(value);
    else if (option === '-accel') noteAccelerator(value.split(',')[0] ?? '');
    else if (option === '-m') memory = parseMemory(value);
    else if (option === '-smp') cpus = parseCpus(value);
    else if (option === '-kernel') kernel = value;
    else if (option === '-initrd') initrd = value;
    else if (option === '-append') append = value;
    else if (option === '-pidfile') pidFile = value;
    else if (option === '-chardev') {
      const chardev = parseChardev(value);
      if (chardev === undefined) throw unsupported(`${word} ${value}`, NO_BACKEND);
      chardevs.set(chardev.id, chardev.backend);
    } else if (option === '-serial') {
      // There is one serial port; another that is connected to nothing changes nothing.
      if (serial === undefined) serial = value;
      else if (parseSerialBackend(value) !== 'null') {
        throw unsupported(`${word} ${value}`, 'there is one serial port');
      }
    } else throw unsupported(`${word} ${value}`, 'this machine has nothing of the kind');
  }
  // A character device may stand behind the port that it belongs to.
  const console = serial?.startsWith('chardev:') ? chardevs.get(serial.slice(8)) : serial;
  const backend = console === undefined ? undefined : parseSerialBackend(console);
  if (serial !== undefined && backend === undefined)
    throw unsupported(`-serial ${serial}`, NO_BACKEND);
  if (kernel === undefined) {
    throw new PandoError('QEMU_KERNEL_MISSING', 'the command line has no -kernel', {
      remedy: 'Pando boots kernels; disks with a boot loader need firmware, which it has none of',
    });
  }
  return {
    kernel,
    initrd,
    append,
    memory,
    cpus,
    // Without -accel QEMU emulates.
    accelerator: accelerator ?? 'wasm',
    accelerators,
    serial: backend ?? (words.includes('-nodefaults') ? 'null' : 'stdio'),
    reboot,
    pidFile,
    ignored: [...ignored].map(([word, why]) => ({ word, why })),
  };
}
