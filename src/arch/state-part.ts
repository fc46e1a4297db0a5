/**
 * Saved state as plain data: named, versioned runs of bytes. Boards, vCPUs and the kernel's part of a
 * machine are saved as lists of these; who stores them need not know what is in them.
 */
import { PandoError } from '../error.js';

export interface StatePart {
  /** Unique in its list, such as `pit` or `localApic0`. */
  readonly name: string;
  /** Of the meaning of `bytes`: state of another version is refused. */
  readonly version: number;
  readonly bytes: Uint8Array;
}

/** Where a part is written back to. */
export interface StatePlace {
  readonly version: number;
  readonly bytes: number;
}

/**
 * The bytes of the part called `name`.
 * @throws PandoError STATE_PART_MISSING, STATE_PART_VERSION, STATE_PART_SIZE
 */
export function statePart(
  parts: readonly StatePart[],
  name: string,
  place: StatePlace,
): Uint8Array {
  const part = parts.find((candidate) => candidate.name === name);
  if (part === undefined) {
    throw new PandoError('STATE_PART_MISSING', `the saved state has no part "${name}"`, {
      remedy: 'restore into a machine with the devices that it was saved with',
    });
  }
  if (part.version !== place.version) {
    throw new PandoError(
      'STATE_PART_VERSION',
      `part "${name}" of the saved state has version ${part.version}, this machine ${place.version}`,
      { remedy: 'restore with the release that saved it' },
    );
  }
  if (part.bytes.length !== place.bytes) {
    throw new PandoError(
      'STATE_PART_SIZE',
      `part "${name}" of the saved state has ${part.bytes.length} bytes, not ${place.bytes}`,
      { remedy: 'save the state again: this one is damaged' },
    );
  }
  return part.bytes;
}
