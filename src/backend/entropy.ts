/** Random bytes of the host, for the guest's entropy device. */
import { randomFillSync } from 'node:crypto';

/** Fills bytes, also shared ones, from the host's generator. */
export function fillRandom(bytes: Uint8Array): void {
  randomFillSync(bytes);
}
