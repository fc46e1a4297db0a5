/** The keys that leave a main command running, as Docker writes and reads them. */
import { PandoError } from '../../error.js';

export const DETACH_KEYS = 'ctrl-p,ctrl-q';

/** Characters that Ctrl makes control characters of (ASCII, 0x40 to 0x5f). */
const CONTROLS = /^[a-z@[\\\]^_]$/;

/** @param text keys with commas between: a character, or `ctrl-` and one @throws PandoError USAGE */
export function parseDetachKeys(text: string): Uint8Array {
  const codes = text.split(',').map((key) => {
    const control = /^ctrl-(.)$/i.exec(key)?.[1]?.toLowerCase();
    if (control !== undefined && CONTROLS.test(control)) {
      return control.toUpperCase().charCodeAt(0) & 0x1f;
    }
    if (/^[ -~]$/.test(key)) return key.charCodeAt(0);
    throw new PandoError('USAGE', `--detach-keys ${text}: ${JSON.stringify(key)} is no key`, {
      remedy: `use characters and ctrl-LETTER with commas between: ${DETACH_KEYS}`,
    });
  });
  return Uint8Array.from(codes);
}

/**
 * Input until the keys come, one after the other. A key that may begin them waits for the next.
 * @param detached is called when they have come
 */
export async function* untilDetached(
  input: AsyncIterable<Uint8Array>,
  keys: Uint8Array,
  detached: () => void,
): AsyncGenerator<Uint8Array> {
  let held = 0;
  for await (const piece of input) {
    const plain: number[] = [];
    for (const byte of piece) {
      if (byte === keys[held]) held += 1;
      else {
        // What was held begins the keys no more, but its end may.
        const typed = [...keys.subarray(0, held), byte];
        held = beginning(typed, keys);
        plain.push(...typed.slice(0, typed.length - held));
      }
      if (held < keys.length) continue;
      if (plain.length > 0) yield Uint8Array.from(plain);
      detached();
      return;
    }
    if (plain.length > 0) yield Uint8Array.from(plain);
  }
  if (held > 0) yield keys.slice(0, held);
}

/** How many of the keys the last of these bytes are. */
function beginning(bytes: readonly number[], keys: Uint8Array): number {
  for (let count = Math.min(bytes.length, keys.length); count > 0; count -= 1) {
    const end = bytes.slice(bytes.length - count);
    if (end.every((byte, i) => byte === keys[i])) return count;
  }
  return 0;
}
