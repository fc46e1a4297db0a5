/** What goes wrong beside the VMs' own ends is a warning of the process: an 'warning' event, or a line. */
import { failureEvent } from './reporter.js';

/** @param code stable, as that of a PandoError */
export function warn(code: string, message: string, cause?: unknown): void {
  const detail = cause === undefined ? undefined : failureEvent(cause).message;
  process.emitWarning(message, { type: 'PandoWarning', code, ...(detail ? { detail } : {}) });
}
