/** Commands as one would type them again. */

/** A shell's word (POSIX, Shell Command Language, quoting). */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** The command that was given, as one would type it again. */
export function commandText(words: readonly string[]): string {
  return ['pando', ...words.map(quoted)].join(' ');
}
