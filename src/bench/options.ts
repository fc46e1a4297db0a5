/** The options of `pando bench`: from text to checked values, and the series that they ask for. */

import { parseCount, parseSeconds, parseSize } from '../cli/terminal/units.js';
import { PandoError } from '../error.js';
import type { Isolation } from '../fleet/fleet.js';
import { BOOT_STAGES, type StageName } from '../run/types.js';
import type { AcceleratorName, LoadMode, TierChoice } from '../vm/types.js';

/** What both benches take, as commander hands it over. */
export interface BenchFlags {
  readonly kernel?: string;
  readonly initrd?: string;
  readonly image?: string;
  readonly append?: string;
  readonly memory: string;
  readonly load: string;
  readonly accel: string;
  readonly tier: string;
  /** False for --no-deduplicate. */
  readonly deduplicate?: boolean;
  readonly against?: string;
  readonly timeout: string;
  readonly json?: string;
  readonly report?: string;
}

export interface FootprintFlags extends BenchFlags {
  readonly instances: string;
  readonly isolate: string;
  readonly settle: string;
}

export interface BootFlags extends BenchFlags {
  readonly runs: string;
  readonly until: string;
}

/** One word of several. */
function parseChoice<T extends string>(option: string, text: string, allowed: readonly T[]): T {
  const value = allowed.find((candidate) => candidate === text);
  if (value !== undefined) return value;
  throw new PandoError('CHOICE_INVALID', `${option} ${JSON.stringify(text)} is not known`, {
    remedy: `use ${allowed.join(', ')}`,
  });
}

/** The same, checked. */
export interface BenchOptions {
  /** Bytes. */
  readonly memory: number;
  readonly load: readonly LoadMode[];
  readonly accelerator: AcceleratorName | 'auto';
  readonly tier: TierChoice;
  readonly against: boolean;
  readonly timeoutMs: number;
}

export interface FootprintOptions extends BenchOptions {
  /** Ascending. */
  readonly instances: readonly number[];
  readonly isolate: readonly Isolation[];
  readonly settleMs: number;
}

export interface BootOptions extends BenchOptions {
  readonly runs: number;
  /** The stage at which a boot is over. */
  readonly until: StageName;
}

/** More VMs than this on one host are no bench. */
const INSTANCE_LIMIT = 1024;
const RUN_LIMIT = 1000;

/**
 * A list such as `map,read`, without repetition.
 * @throws PandoError CHOICE_INVALID
 */
export function parseChoices<T extends string>(
  option: string,
  text: string,
  allowed: readonly T[],
): T[] {
  const chosen = text.split(',').map((word) => {
    const value = allowed.find((candidate) => candidate === word);
    if (value !== undefined) return value;
    throw new PandoError('CHOICE_INVALID', `${option} ${JSON.stringify(text)} is not known`, {
      remedy: `use ${allowed.join(', ')}, or several of them with commas`,
    });
  });
  return [...new Set(chosen)];
}

function parseBench(flags: BenchFlags): BenchOptions {
  if (flags.against !== undefined) parseChoice('--against', flags.against, ['qemu']);
  return {
    memory: parseSize('--memory', flags.memory),
    load: parseChoices<LoadMode>('--load', flags.load, ['map', 'read']),
    accelerator: parseChoice('--accel', flags.accel, ['auto', 'kvm', 'wasm']),
    tier: parseChoice('--tier', flags.tier, ['auto', '0', '1']),
    against: flags.against !== undefined,
    timeoutMs: parseSeconds('--timeout', flags.timeout),
  };
}

/** @throws PandoError CHOICE_INVALID, NUMBER_INVALID, SIZE_INVALID */
export function parseFootprintOptions(flags: FootprintFlags): FootprintOptions {
  const instances = flags.instances
    .split(',')
    .map((text) => parseCount('--instances', text, 1, INSTANCE_LIMIT));
  return {
    ...parseBench(flags),
    instances: [...new Set(instances)].sort((a, b) => a - b),
    isolate: parseChoices<Isolation>('--isolate', flags.isolate, ['shared', 'process']),
    settleMs: parseSeconds('--settle', flags.settle),
  };
}

/** @throws PandoError as `parseFootprintOptions` */
export function parseBootOptions(flags: BootFlags): BootOptions {
  return {
    ...parseBench(flags),
    runs: parseCount('--runs', flags.runs, 1, RUN_LIMIT),
    until: parseChoice('--until', flags.until, BOOT_STAGES),
  };
}
