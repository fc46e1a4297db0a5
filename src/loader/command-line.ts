/**
 * The kernel's command line: one string of parameters, NUL-terminated
 * (Linux admin-guide "kernel-parameters"; COMMAND_LINE_SIZE is 2048 on x86, the NUL included).
 */
import { COMMAND_LINE_LIMIT } from '../arch/layout.js';
import { PandoError } from '../error.js';

/** Bytes that x86 Linux keeps of a command line, the NUL not counted. */
const COMMAND_LINE_MAX = COMMAND_LINE_LIMIT - 1;

/** Words after a lone `--` are for init, not for the kernel. */
const INIT_SEPARATOR = /(^| )--( |$)/;

/**
 * Puts `append` behind `base`: of two settings the kernel takes the later. Where `base` hands words to
 * init (after `--`), `append` goes in front of that `--`, so that it still reaches the kernel.
 */
export function mergeCommandLine(base: string, append: string): string {
  const separator = INIT_SEPARATOR.exec(base);
  const cut = separator === null ? base.length : separator.index;
  return [base.slice(0, cut), append, base.slice(cut)]
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .join(' ');
}

/**
 * The bytes for the guest, terminating NUL included: at most 2048.
 * @throws PandoError COMMAND_LINE_CONTROL_CHARACTER, COMMAND_LINE_TOO_LONG
 */
export function encodeCommandLine(text: string): Uint8Array {
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit < 0x20 || unit === 0x7f) {
      throw new PandoError(
        'COMMAND_LINE_CONTROL_CHARACTER',
        `the kernel command line has the control character 0x${unit.toString(16)} at index ${at}`,
        { remedy: 'separate parameters by spaces' },
      );
    }
  }
  const bytes = new TextEncoder().encode(text);
  if (bytes.length > COMMAND_LINE_MAX) {
    throw new PandoError(
      'COMMAND_LINE_TOO_LONG',
      `the kernel command line is ${bytes.length} bytes, the limit is ${COMMAND_LINE_MAX}`,
      { remedy: 'shorten what --append gives' },
    );
  }
  const encoded = new Uint8Array(bytes.length + 1);
  encoded.set(bytes);
  return encoded;
}
