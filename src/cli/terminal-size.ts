/**
 * The size of the terminal on the guest's command line. A serial line has no word for it; the parameters
 * are those that systemd(1) sets a console's size by, and that the init of Pando's own image knows
 * (src/image/init-script.ts).
 */
import { mergeCommandLine } from '../loader/command-line.js';

/** The console that a guest has here. */
const CONSOLE = 'ttyS0';

/**
 * @param screen the terminal that the console is shown on
 * @returns the command line with the terminal's size, where the console is the serial port and nothing
 *   else sets a size
 */
export function withTerminalSize(
  commandLine: string,
  screen: { readonly rows: number | undefined; readonly columns: number | undefined },
): string {
  const { rows, columns } = screen;
  const words = commandLine.split(' ');
  const serial = words.some(
    (word) => word === `console=${CONSOLE}` || word.startsWith(`console=${CONSOLE},`),
  );
  if (!serial || !rows || !columns || commandLine.includes('systemd.tty.')) return commandLine;
  const size = `systemd.tty.rows.${CONSOLE}=${rows} systemd.tty.columns.${CONSOLE}=${columns}`;
  return mergeCommandLine(commandLine, size);
}
