/** How a VM calls what its user gave it: an exception is the user's, and changes nothing in the VM. */
import { warn } from '../run/warning.js';

function report(error: unknown): void {
  warn('VM_LISTENER_FAILED', 'a listener of a VM threw', error);
}

function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | undefined)?.then === 'function';
}

/**
 * Calls a listener; the process gets a warning for what it throws, at once or later.
 * @returns when it is done, for one that returned a promise; never rejects
 */
export function call<T>(listener: (value: T) => unknown, value: T): Promise<void> | undefined {
  try {
    const result = listener(value);
    if (!isPromise(result)) return undefined;
    return Promise.resolve(result).then(() => undefined, report);
  } catch (error) {
    report(error);
    return undefined;
  }
}
