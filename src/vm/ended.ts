/** What whoever asks something of a VM that has ended is told. */
import { PandoError } from '../error.js';
import type { VmExit } from '../run/types.js';

/** How a VM ended, in words. */
export function endOf(exit: VmExit): string {
  switch (exit.kind) {
    case 'poweroff':
      return 'the guest powered off';
    case 'reboot':
      return 'the guest reset the machine';
    case 'shutdown':
      return 'the guest met a triple fault';
    case 'stopped':
      return 'it was stopped';
    case 'error':
      return `${exit.code}: ${exit.message}`;
  }
}

export function endedError(vm: number, exit: VmExit): PandoError {
  return new PandoError('VM_ENDED', `VM ${vm} has ended: ${endOf(exit)}`);
}
