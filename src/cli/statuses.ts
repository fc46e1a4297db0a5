/** The exit statuses of the command line (README.md), and how long the last output is waited for. */

/** Why a user, or the system for them, ends a command. */
export type Interruption = 'quit' | 'SIGINT' | 'SIGTERM' | 'SIGHUP' | 'SIGPIPE';

export const STATUS_OK = 0;
export const STATUS_FAILED = 1;
export const STATUS_USAGE = 2;
export const STATUS_TIMEOUT = 3;
export const STATUS_TRIPLE_FAULT = 4;
/** An error that is no PandoError is a fault of Pando (EX_SOFTWARE of sysexits.h). */
export const STATUS_BUG = 70;

/** A shell's status of a program that a signal ended: 128 + its number (signal(7)). */
export const INTERRUPTION_STATUS: Readonly<Record<Interruption, number>> = {
  quit: STATUS_OK,
  SIGHUP: 129,
  SIGINT: 130,
  SIGPIPE: 141,
  SIGTERM: 143,
};

/** A reader that takes nothing for so long is given up once time is up or a signal has come. */
export const PATIENCE_MS = 2000;

/** @returns milliseconds for which an output is waited for at the end, see `Output.flush` */
export function patienceFor(status: number): number | undefined {
  return status === STATUS_TIMEOUT || status > 128 ? PATIENCE_MS : undefined;
}
