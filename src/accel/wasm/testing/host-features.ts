/** Which instructions of later extensions the host's processor has (proc(5), /proc/cpuinfo). */
import { readFileSync } from 'node:fs';

const EXTENSIONS: ReadonlyArray<readonly [mnemonics: RegExp, flag: string]> = [
  [/^aes/, 'aes'],
  [/^pclmulqdq$/, 'pclmulqdq'],
  [/^movbe$/, 'movbe'],
  [/^ad[co]x$/, 'adx'],
];

let flags: ReadonlySet<string> | undefined;

/** Why the host's processor cannot be asked about an instruction; false when it can. */
export function absentHere(mnemonic: string): string | false {
  flags ??= new Set(
    /^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'latin1'))?.[1]?.trim().split(' '),
  );
  const needed = EXTENSIONS.find(([mnemonics]) => mnemonics.test(mnemonic))?.[1];
  return needed === undefined || flags.has(needed) ? false : `this processor has no ${needed}`;
}
