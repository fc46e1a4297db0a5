/** Failed system calls as coded errors; names of error numbers are those of errno(3). */
import { constants } from 'node:os';
import { PandoError } from '../error.js';
import { errno } from './libc.js';

const names = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]));

/** The symbolic name of an error number, e.g. `ENODEV`; `E<number>` for one that Node does not know. */
export function errnoName(number: number): string {
  return names.get(number) ?? `E${number}`;
}

/** Name of the calling thread's `errno`, right after a call that failed. */
export function lastErrno(): string {
  return errnoName(errno());
}

/** The symbolic name that Node puts on its own system errors; undefined on anything else. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** A system call that failed. */
export class HostError extends PandoError {
  /** Symbolic error name, e.g. `ENOMEM`. */
  readonly errno: string;

  /**
   * @param call what was attempted, with its arguments
   * @param name symbolic error name
   */
  constructor(call: string, name: string, remedy?: string) {
    super('HOST_CALL_FAILED', `${call}: ${name}`, remedy === undefined ? {} : { remedy });
    this.errno = name;
  }
}
