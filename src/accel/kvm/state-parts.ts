/** What the kernel keeps of a machine and its vCPUs, as parts of a saved state and back. */
import { type StatePart, statePart } from '../../arch/state-part.js';
import { PandoError } from '../../error.js';
import type { KVM } from './api.js';
import type { KvmVm, SavedMachine } from './kvm-vm.js';
import type { KvmVcpuOwner, SavedVcpu } from './vcpu-setup.js';

const VERSION = 1;
const CLOCK_BYTES = 8;

function bigint(value: bigint): Uint8Array {
  const bytes = new Uint8Array(CLOCK_BYTES);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
}

function readBigint(parts: readonly StatePart[], name: string): bigint {
  const bytes = statePart(parts, name, { version: VERSION, bytes: CLOCK_BYTES });
  return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
}

/** Parts whose names begin with `prefix`, without it. */
function within(parts: readonly StatePart[], prefix: string): StatePart[] {
  const found: StatePart[] = [];
  for (const part of parts) {
    if (!part.name.startsWith(prefix)) continue;
    // Says what is wrong with its version.
    statePart(parts, part.name, { version: VERSION, bytes: part.bytes.length });
    found.push({ ...part, name: part.name.slice(prefix.length) });
  }
  if (found.length === 0) {
    throw new PandoError('STATE_PART_MISSING', `the saved state has no part "${prefix}…"`, {
      remedy: 'restore into a machine with as many vCPUs as it was saved with',
    });
  }
  return found;
}

/** @param clock the paravirtual clock while the machine stands */
export function machineParts(saved: SavedMachine, clock: bigint): StatePart[] {
  const parts = saved.parts.map(({ request, bytes }, index) => ({
    name: `kernel.${index}.${request}`,
    version: VERSION,
    bytes,
  }));
  return [...parts, { name: 'clock', version: VERSION, bytes: bigint(clock) }];
}

/** Writes a machine's parts back. @returns the paravirtual clock */
export function restoreMachine(machine: KvmVm, parts: readonly StatePart[]): bigint {
  const clock = readBigint(parts, 'clock');
  machine.restore({
    parts: within(parts, 'kernel.').map(({ name, bytes }) => ({
      request: name.slice(name.indexOf('.') + 1) as SavedMachine['parts'][number]['request'],
      bytes,
    })),
    clock,
  });
  return clock;
}

export function vcpuParts(owner: KvmVcpuOwner): StatePart[] {
  const saved = owner.save();
  const prefix = `vcpu${owner.handle.id}.`;
  const part = (name: string, bytes: Uint8Array): StatePart => ({
    name: prefix + name,
    version: VERSION,
    bytes,
  });
  return [
    part('tsc', bigint(owner.timeStamp())),
    ...saved.parts.map(({ request, bytes }) => part(`set.${request}`, bytes)),
    part('msrs', saved.msrs),
  ];
}

export function restoreVcpu(owner: KvmVcpuOwner, parts: readonly StatePart[]): void {
  const prefix = `vcpu${owner.handle.id}.`;
  const requests = within(parts, `${prefix}set.`);
  const [msrs] = within(parts, `${prefix}msrs`);
  // Deadlines of the local APIC's timer are times of this counter.
  owner.setTimeStamp(readBigint(parts, `${prefix}tsc`));
  const state: SavedVcpu = {
    parts: requests.map(({ name, bytes }) => ({ request: name as keyof typeof KVM, bytes })),
    msrs: msrs?.bytes.slice() ?? new Uint8Array(0),
  };
  owner.restore(state);
}
