/** How a sandbox's guest has ended, as the error of all that is asked of the sandbox then. */
import { PandoError } from '../error.js';
import { endOf } from '../vm/ended.js';
import type { Vm } from '../vm/vm.js';
import type { ConsoleLog } from './console-log.js';

/** What Linux prints when it gives up, on every console, however quiet it was told to be (kernel/panic.c). */
const PANIC = /Kernel panic - not syncing: (.{1,200})/;

/** @returns undefined while the VM has not ended */
export function sandboxEnd({ exit }: Pick<Vm, 'exit'>, log: ConsoleLog): PandoError | undefined {
  if (exit === undefined) return undefined;
  const panics = log.lines().flatMap(({ text }) => PANIC.exec(text)?.[1] ?? []);
  const panic = exit.kind === 'poweroff' || exit.kind === 'stopped' ? undefined : panics.at(-1);
  const how = panic === undefined ? endOf(exit) : `the guest's kernel panicked: ${panic}`;
  return new PandoError('SANDBOX_ENDED', `the sandbox has ended: ${how}`, {
    remedy: 'make another; what its console said is in logs()',
  });
}
