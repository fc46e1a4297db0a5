/** Which accelerators this host has, how fast KVM is on it, and which one `auto` takes. */
import { type KvmMeasurement, measureKvm } from '../accel/kvm/probe.js';
import { OR_WASM, WASM_REMEDY } from '../accel/kvm/system.js';
import { PandoError } from '../error.js';
import type { AcceleratorName } from './types.js';

/** What is known about KVM here. */
export type KvmProbe =
  /** It runs guests; `emulated` when it is too slow to be the processor itself. */
  | ({ readonly works: true; readonly emulated: boolean } & KvmMeasurement)
  /** It does not; the error says why and what to do. */
  | { readonly works: false; readonly error: PandoError };

export interface AcceleratorProbe {
  readonly kvm: KvmProbe;
  /** What `auto` takes. */
  readonly choice: AcceleratorName;
  /** Why, with what was measured: one sentence. */
  readonly reason: string;
}

/**
 * A loop of two instructions runs at a billion a second and more on any processor; the wasm engine
 * comes to a tenth of that. Less means that the host emulates.
 */
const EMULATED_BELOW = 2e8;

let probed: AcceleratorProbe | undefined;

/** Probes once in a process: opens KVM, runs a small guest, measures. Takes some 5 to 20 ms. */
export function probeAccelerators(): AcceleratorProbe {
  probed ??= probe();
  return probed;
}

function probe(): AcceleratorProbe {
  const kvm = probeKvmRate();
  if (!kvm.works) {
    return { kvm, choice: 'wasm', reason: `kvm does not work: ${kvm.error.message}` };
  }
  const rate = `${(kvm.instructionsPerSecond / 1e6).toFixed(1)} million instructions a second`;
  if (kvm.emulated) {
    const reason = `/dev/kvm works but its host emulates: a loop ran at ${rate}, below ${EMULATED_BELOW / 1e6} million`;
    return { kvm, choice: 'wasm', reason };
  }
  return { kvm, choice: 'kvm', reason: `a loop ran at ${rate} on kvm` };
}

function probeKvmRate(): KvmProbe {
  try {
    const measured = measureKvm();
    return {
      works: true,
      emulated: measured.instructionsPerSecond < EMULATED_BELOW,
      ...measured,
    };
  } catch (error) {
    if (error instanceof PandoError) return { works: false, error };
    throw error;
  }
}

/** Why the wasm accelerator cannot run a VM. */
export interface WasmRefusal {
  readonly code: string;
  readonly message: string;
  /** What to ask for instead. */
  readonly remedy: string;
}

/**
 * The accelerator for a VM: what is asked for, or what the probe says. Where wasm cannot run the VM, `auto`
 * takes kvm however slow it is.
 * @param refusal why wasm cannot run this VM; undefined when it can
 * @throws PandoError the refusal's code when wasm is asked for; ACCELERATOR_NONE when `auto` finds none
 */
export function chooseAccelerator(
  wanted: AcceleratorName | 'auto',
  refusal?: WasmRefusal,
  probe: () => AcceleratorProbe = probeAccelerators,
): AcceleratorName {
  if (wanted === 'wasm' && refusal !== undefined) {
    const remedy = `${refusal.remedy}, or --accel kvm`;
    throw new PandoError(refusal.code, refusal.message, { remedy });
  }
  if (wanted !== 'auto') return wanted;
  const { kvm, choice } = probe();
  if (refusal === undefined) return choice;
  if (kvm.works) return 'kvm';
  const { error } = kvm;
  const kvmRemedy = error.remedy === WASM_REMEDY ? undefined : error.remedy?.replace(OR_WASM, '');
  throw new PandoError('ACCELERATOR_NONE', `${refusal.message}; kvm: ${error.message}`, {
    remedy: refusal.remedy + (kvmRemedy === undefined ? '' : `, or for kvm ${kvmRemedy}`),
    cause: error,
  });
}
