/** The options of a VM: which there are and what each may be, in one table. */
import { CPU_MODELS, DEFAULT_CPU_MODEL } from '../arch/cpu-models.js';
import { MAX_VCPUS } from '../devices/board-state.js';
import { PandoError } from '../error.js';
import type { WasmRefusal } from '../run/accelerators.js';
import type { AcceleratorName } from '../run/types.js';
import type { VmOptions } from './types.js';

/** Guest RAM of the wasm accelerator: what a 32-bit memory holds beside the control area. */
const WASM_MEMORY_LIMIT = 3 * 2 ** 30;

/** What a value has to be. */
interface Kind {
  readonly text: string;
  readonly takes: (value: unknown) => boolean;
}

const TEXT: Kind = { text: 'a text', takes: (value) => typeof value === 'string' };
const PATH: Kind = {
  text: 'the path of a file',
  takes: (value) => typeof value === 'string' && value !== '' && !value.includes('\0'),
};
const FLAG: Kind = { text: 'true or false', takes: (value) => typeof value === 'boolean' };
const NUMBER: Kind = { text: 'a number', takes: (value) => typeof value === 'number' };
const LIST: Kind = { text: 'a list', takes: Array.isArray };
const SIGNAL: Kind = {
  text: 'an AbortSignal',
  takes: (value) => value instanceof AbortSignal,
};
const NETWORK: Kind = {
  text: "'user', a link of a Network, or options with mode 'user' or 'passt'",
  takes: (value) =>
    value === 'user' ||
    (typeof value === 'object' &&
      value !== null &&
      ('attach' in value ||
        ('mode' in value && (value.mode === 'user' || value.mode === 'passt')))),
};

function oneOf(...values: readonly string[]): Kind {
  const text = `one of ${values.map((value) => `'${value}'`).join(', ')}`;
  return { text, takes: (value) => values.includes(value as string) };
}

const KINDS: Readonly<Record<keyof VmOptions, Kind>> = {
  kernel: PATH,
  initrd: PATH,
  modules: PATH,
  pmem: LIST,
  commandLine: TEXT,
  memory: NUMBER,
  cpus: NUMBER,
  cpu: TEXT,
  accelerator: oneOf('kvm', 'wasm', 'auto'),
  immutableImages: FLAG,
  deduplicate: FLAG,
  tier: oneOf('0', '1', 'auto'),
  load: oneOf('map', 'read'),
  disks: LIST,
  rng: FLAG,
  vsock: FLAG,
  balloon: FLAG,
  reboot: FLAG,
  net: NETWORK,
  signal: SIGNAL,
};

function invalid(name: string, value: unknown, kind: Kind): PandoError {
  const shown = typeof value === 'string' ? `'${value}'` : String(value);
  const message = `option ${name} is ${shown}`;
  return new PandoError('VM_OPTION_INVALID', message, { remedy: `give ${kind.text}` });
}

/**
 * What no accelerator takes, and what means nothing. An option that is undefined is absent.
 * @throws PandoError VM_OPTION_INVALID, VM_OPTION_UNKNOWN, VM_MEMORY_INVALID, VM_CPUS_INVALID
 */
export function checkOptions(options: VmOptions): void {
  const given: Readonly<Record<string, unknown>> = Object.assign({ kernel: undefined }, options);
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(KINDS, name)) {
      throw new PandoError('VM_OPTION_UNKNOWN', `there is no option ${name} of a VM`, {
        remedy: `the options are ${Object.keys(KINDS).join(', ')}`,
      });
    }
    const kind = KINDS[name as keyof VmOptions];
    if (value === undefined && name !== 'kernel') continue;
    if (!kind.takes(value)) throw invalid(name, value, kind);
  }
  const { memory, cpus } = options;
  if (memory !== undefined) checkMemory(memory);
  if (cpus !== undefined) checkCpus(cpus);
}

function checkMemory(memory: number): void {
  if (Number.isSafeInteger(memory) && memory > 0 && memory % 4096 === 0) return;
  throw new PandoError(
    'VM_MEMORY_INVALID',
    `guest memory of ${memory} bytes is not a positive multiple of 4096`,
    { remedy: 'choose a whole number of MiB' },
  );
}

function checkCpus(cpus: number): void {
  if (Number.isInteger(cpus) && cpus >= 1 && cpus <= MAX_VCPUS) return;
  throw new PandoError('VM_CPUS_INVALID', `${cpus} vCPUs are not within 1–${MAX_VCPUS}`, {
    remedy: `choose 1 to ${MAX_VCPUS}`,
  });
}

/** The CPU model of a VM for which none is named: all that the accelerator can give. */
export function defaultCpu(accelerator: AcceleratorName): string {
  return accelerator === 'wasm' ? DEFAULT_CPU_MODEL : 'host';
}

/** Why the wasm accelerator cannot run such a VM; undefined when it can. */
export function wasmRefusal(
  cpu: string | undefined,
  memory: number,
  cpus: number,
): WasmRefusal | undefined {
  if (memory > WASM_MEMORY_LIMIT) {
    return {
      code: 'VM_MEMORY_UNSUPPORTED',
      message: `guest memory of ${memory} bytes: the wasm accelerator has at most ${WASM_MEMORY_LIMIT}`,
      remedy: 'use --memory 3G or less',
    };
  }
  if (cpus !== 1) {
    return {
      code: 'VM_CPUS_UNSUPPORTED',
      message: `${cpus} vCPUs: the wasm accelerator has one`,
      remedy: 'use --cpus 1',
    };
  }
  if (cpu !== undefined && !CPU_MODELS.includes(cpu)) {
    return {
      code: 'VM_CPU_MODEL_UNSUPPORTED',
      message: `CPU model "${cpu}": the wasm accelerator has ${CPU_MODELS.join(', ')}`,
      remedy: 'use one of these',
    };
  }
  return undefined;
}
