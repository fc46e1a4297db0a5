/** The parts of a board's state that a saved machine has, as views over the board's bytes. */
import type { StatePart } from '../arch/state-part.js';
import type { BoardOptions } from './board-options.js';
import { BOARD_STATE, type BoardStatePlace } from './board-state.js';

/**
 * Views of all state but what belongs to the host: locks and calls of host ends. A part that repeats is
 * named with its number; a declared device's has the device's name and version.
 */
export function savedParts(options: BoardOptions): StatePart[] {
  const { state, byteOffset, vcpus, declared = [], interruptLines } = options;
  const parts: StatePart[] = [];
  const add = (
    name: string,
    { offset, bytes }: BoardStatePlace,
    version: number,
    index = 0,
  ): void => {
    const start = byteOffset + offset + index * bytes;
    parts.push({ name, version, bytes: new Uint8Array(state, start, bytes) });
  };
  const { localApics, declared: devices, ...others } = BOARD_STATE;
  for (const [name, place] of Object.entries<BoardStatePlace>(others)) {
    if (place.version > 0) add(name, place, place.version);
  }
  const apics = interruptLines === undefined ? vcpus : 0;
  for (let id = 0; id < apics; id += 1) add(`localApic${id}`, localApics, localApics.version, id);
  declared.forEach(({ name, version }, index) => {
    add(name, devices, version, index);
  });
  return parts;
}
