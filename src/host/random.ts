/** getrandom(2): the host's generator. node:crypto has it, too, but takes 7 ms of each start to load. */
import { HostError, lastErrno } from './errno.js';
import { addressOf, libc } from './libc.js';

/** No signal interrupts a call for so few bytes, and they come whole (getrandom(2)). */
const PIECE = 256;

/** Fills bytes, also shared ones. */
export function fillRandom(bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; done += PIECE) {
    const piece = bytes.subarray(done, done + PIECE);
    if (libc().getrandom(addressOf(piece), piece.length, 0) !== piece.length) {
      throw new HostError('getrandom', lastErrno());
    }
  }
}
