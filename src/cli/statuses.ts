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

/** Every exit status with its meaning, as help and README.md show them. */
export const STATUSES: readonly (readonly [status: string, meaning: string])[] = [
  ['0', 'the guests powered off, or reset with --no-reboot; --until was met; or Ctrl-A X'],
  ['0 to 255', 'with an image: the status of the program that ran in it'],
  ['1', 'an error: one line with a code, what is wrong, and what to do'],
  ['2', 'a wrong command line'],
  ['3', 'time-out; standard error tells what each VM was doing'],
  ['4', 'a triple fault; standard error has RIP, registers and the last console lines'],
  ['70', 'a fault of Pando itself, with a stack trace'],
  ['129, 130, 143', 'SIGHUP, SIGINT, SIGTERM; the VMs were ended first'],
  ['141', 'SIGPIPE: the reader of standard output has gone; the VMs were ended first'],
];

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
