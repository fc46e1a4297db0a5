/** All that a machine is beside its RAM: boards, vCPUs, interrupt controllers, as plain data. */
import type { StatePart } from '../arch/state-part.js';
import { PandoError } from '../error.js';
import type { AcceleratorName } from './types.js';

/** Of this structure; its parts have versions of their own. */
export const MACHINE_STATE_VERSION = 1;

export interface MachineState {
  readonly version: number;
  /** A state is restored by the accelerator that saved it. */
  readonly accelerator: AcceleratorName;
  /** Guest time in nanoseconds: it goes on from here. */
  readonly time: number;
  readonly parts: readonly StatePart[];
}

/** @throws PandoError MACHINE_STATE_VERSION, MACHINE_STATE_ACCELERATOR */
export function checkMachineState(state: MachineState, accelerator: AcceleratorName): void {
  if (state.version !== MACHINE_STATE_VERSION) {
    throw new PandoError(
      'MACHINE_STATE_VERSION',
      `the saved machine has version ${state.version}, this release ${MACHINE_STATE_VERSION}`,
      { remedy: 'restore with the release that saved it' },
    );
  }
  if (state.accelerator !== accelerator) {
    throw new PandoError(
      'MACHINE_STATE_ACCELERATOR',
      `a machine of ${state.accelerator} cannot go on under ${accelerator}`,
      { remedy: `use --accel ${state.accelerator}` },
    );
  }
}
