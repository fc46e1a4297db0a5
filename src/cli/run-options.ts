/** The options of `pando run`: from text to checked values. */
import { PandoError } from '../error.js';
import type { Isolation } from '../fleet/fleet.js';
import { EXT4_LEAST, EXT4_MOST } from '../image/ext4/size.js';
import type {
  AcceleratorName,
  DiskOptions,
  LoadMode,
  TierChoice,
  VmNetworkOptions,
} from '../vm/types.js';
import type { DetachedFlags } from './sandboxes/detached.js';
import { parseSerial, type SerialTarget } from './serial.js';
import { parseCount, parseSeconds, parseSize } from './terminal/units.js';

/** More VMs than any host of today holds; a typing error has more. */
const COUNT_LIMIT = 4096;
const CPU_LIMIT = 255;

/** The options as commander hands them over. */
export interface RunFlags extends DetachedFlags {
  readonly detach?: boolean;
  readonly kernel?: string;
  readonly initrd?: string;
  readonly append?: string;
  readonly snapshot?: string;
  readonly fresh?: boolean;
  readonly memory: string;
  readonly cpus: string;
  readonly cpu?: string;
  readonly accel: string;
  readonly load: string;
  readonly tier?: string;
  readonly count: string;
  readonly isolate: string;
  readonly serial?: string;
  readonly until?: string;
  readonly timeout?: string;
  readonly report?: string;
  readonly json?: boolean;
  readonly disk?: readonly string[];
  readonly rng?: boolean;
  readonly balloon?: boolean;
  readonly diskSize?: string;
  readonly force?: boolean;
  readonly reboot?: boolean;
  readonly net?: string;
  readonly publish?: readonly string[];
  readonly allow?: readonly string[];
  readonly deny?: readonly string[];
}

/** The same, checked. */
export interface RunOptions {
  /** Bytes. */
  readonly memory: number;
  readonly cpus: number;
  /** CPU model, see VmOptions. */
  readonly cpu: string | undefined;
  readonly accelerator: AcceleratorName | 'auto';
  readonly load: LoadMode;
  readonly tier: TierChoice;
  readonly count: number;
  readonly isolate: Isolation;
  readonly serial: SerialTarget;
  readonly until: string | undefined;
  readonly timeoutMs: number | undefined;
  readonly report: string | undefined;
  readonly json: boolean;
  readonly disks: readonly DiskOptions[];
  readonly rng: boolean;
  /** Undefined: where the guest has the driver. */
  readonly balloon: boolean | undefined;
  /** Whether a guest that resets boots again. */
  readonly reboot: boolean;
  /** Bytes of a disk for what a program in an image writes. */
  readonly diskSize: number | undefined;
  readonly net: VmNetworkOptions | undefined;
}

function oneOf<T extends string>(option: string, text: string, allowed: readonly T[]): T {
  const value = allowed.find((candidate) => candidate === text);
  if (value !== undefined) return value;
  throw new PandoError('CHOICE_INVALID', `${option} ${JSON.stringify(text)} is not known`, {
    remedy: `use ${allowed.join(', ')}`,
  });
}

/** @throws PandoError CHOICE_INVALID, OPTION_CONFLICT */
function parseNetwork(flags: RunFlags, count: number): VmNetworkOptions | undefined {
  const { publish = [], allow = [], deny = [] } = flags;
  const mode = oneOf('--net', flags.net ?? 'none', ['none', 'user', 'passt']);
  if (mode === 'user') {
    if (publish.length === 0 || count === 1) return { mode, publish, allow, deny };
    const message = `--publish gives a port of the host to one VM, and --count is ${count}`;
    throw new PandoError('OPTION_CONFLICT', message, { remedy: 'start the VMs one by one' });
  }
  const of = [...publish, ...allow, ...deny];
  if (of.length > 0) {
    const message = `--publish, --allow and --deny need --net user, and it is ${mode}`;
    throw new PandoError('OPTION_CONFLICT', message, { remedy: 'add --net user' });
  }
  return mode === 'none' ? undefined : { mode };
}

const DISK_MODES = ['ro', 'rw', 'cow'] as const;

/** `FILE,MODE`; a mode is needed, for none of the three is what everybody expects. */
function parseDisk(text: string): DiskOptions {
  const comma = text.lastIndexOf(',');
  const path = text.slice(0, Math.max(0, comma));
  const mode = DISK_MODES.find((candidate) => candidate === text.slice(comma + 1));
  if (path !== '' && mode !== undefined) return { path, mode };
  throw new PandoError('DISK_INVALID', `--disk ${JSON.stringify(text)} is not FILE,MODE`, {
    remedy: 'give a file and one of ro, rw, cow, e.g. --disk data.img,rw',
  });
}

/** @throws PandoError SIZE_INVALID, DISK_SIZE_INVALID */
function parseDiskSize(text: string): number {
  const bytes = parseSize('--disk-size', text);
  if (bytes >= EXT4_LEAST && bytes <= EXT4_MOST) return bytes;
  throw new PandoError('DISK_SIZE_INVALID', `--disk-size ${text} is no size of a disk`, {
    remedy: 'give 16M to 1T',
  });
}

/**
 * @throws PandoError DISK_INVALID, DISK_SIZE_INVALID, SIZE_INVALID, NUMBER_INVALID, CHOICE_INVALID, SERIAL_INVALID,
 * SERIAL_PATTERN_WITHOUT_NUMBER, UNTIL_EMPTY, OPTION_CONFLICT
 */
export function parseRunOptions(flags: RunFlags): RunOptions {
  const count = parseCount('--count', flags.count, 1, COUNT_LIMIT);
  const json = flags.json === true;
  if (flags.until === '') throw new PandoError('UNTIL_EMPTY', '--until needs a text to wait for');
  if (json && flags.serial === 'stdio') {
    const message = '--json and --serial stdio both write to standard output';
    throw new PandoError('OPTION_CONFLICT', message, {
      remedy: 'use --report FILE, or another --serial',
    });
  }
  return {
    memory: parseSize('--memory', flags.memory),
    cpus: parseCount('--cpus', flags.cpus, 1, CPU_LIMIT),
    cpu: flags.cpu,
    accelerator: oneOf('--accel', flags.accel, ['auto', 'kvm', 'wasm']),
    tier: oneOf('--tier', flags.tier ?? 'auto', ['auto', '0', '1']),
    load: oneOf('--load', flags.load, ['map', 'read']),
    count,
    isolate: oneOf('--isolate', flags.isolate, ['shared', 'process']),
    serial: parseSerial(flags.serial ?? (json ? 'null' : 'stdio'), count),
    until: flags.until,
    timeoutMs: flags.timeout === undefined ? undefined : parseSeconds('--timeout', flags.timeout),
    report: flags.report,
    json,
    disks: (flags.disk ?? []).map(parseDisk),
    rng: flags.rng === true,
    balloon: flags.balloon,
    reboot: flags.reboot !== false,
    diskSize: flags.diskSize === undefined ? undefined : parseDiskSize(flags.diskSize),
    net: parseNetwork(flags, count),
  };
}
