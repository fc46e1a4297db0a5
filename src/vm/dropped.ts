/**
 * VMs that nobody holds any more although nobody has closed them. One that runs, or will once it is not
 * held, is kept: its end is still to be heard. Any other is announced as a warning of the process, with the
 * place where it was made, and gives back what it has.
 */
import { warn } from '../run/warning.js';

/** What a VM has, without the VM itself. */
export interface Holding {
  readonly id: number;
  /** Where it was made, as a stack. */
  readonly place: string;
  /** Gives everything back; no vCPU runs. */
  release(): Promise<void>;
}

/** Lines of a stack from the caller of `made` on. */
export function placeOf(made: (...all: never[]) => unknown): string {
  const here: { stack?: string } = {};
  Error.captureStackTrace(here, made);
  return here.stack?.split('\n').slice(1).join('\n') ?? '';
}

const registry = new FinalizationRegistry<Holding>(({ id, place, release }) => {
  const first = place.split('\n')[0]?.trim() ?? '';
  warn('VM_NOT_CLOSED', `VM ${id}, made ${first}, was dropped without close`, new Error(place));
  release().catch((error: unknown) => warn('VM_NOT_CLOSED', `VM ${id} is not given back`, error));
});

/** Announces `vm` when it is dropped; `holding` does not lead to it. */
export function watch(vm: object, holding: Holding): void {
  registry.register(vm, holding, vm);
}

/** It is closed by its owner. */
export function unwatch(vm: object): void {
  registry.unregister(vm);
}
