/** Turns what a board does on the thread that runs it into events for the owner of the VM. */
import { BOOT_STAGE_PORT } from '../arch/layout.js';
import type { Board, BoardHooks } from '../devices/board.js';
import { PandoError, traceOf } from '../error.js';
import { hostNanoseconds } from '../platform/clock.js';
import { coded } from '../system-error.js';
import type { VmControl } from './control.js';
import type { Ending, Failure, Notice } from './execution.js';
import type { StageName } from './types.js';

/** Stages by the value that the guest writes to BOOT_STAGE_PORT. */
const STAGE_VALUES: Readonly<Record<number, StageName>> = {
  6: 'linux_start_kernel',
  7: 'linux_start_user',
};

export class Reporter {
  readonly #control: VmControl;
  readonly #emit: (event: Notice) => void;
  readonly #end: (event: Ending) => void;

  /** @param end told what the guest ended its run with */
  constructor(control: VmControl, emit: (event: Notice) => void, end: (event: Ending) => void) {
    this.#control = control;
    this.#emit = emit;
    this.#end = end;
  }

  /** For the board of this thread. */
  hooks(wake?: (vcpu: number) => void): BoardHooks {
    return {
      onPowerOff: () => this.#end({ kind: 'poweroff' }),
      onReset: () => this.#end({ kind: 'reset' }),
      onBootStage: (value, time, port) => this.#stage(value, time, port),
      onDoorbell: (device) => this.#emit({ kind: 'doorbell', device }),
      ...(wake ? { wake } : {}),
    };
  }

  /** The first entry of the VM's first vCPU is a stage of its own. */
  entering(): void {
    if (!this.#control.firstEntry()) return;
    const source = 'first vCPU entry';
    this.#emit({ kind: 'stage', name: 'vmm_init_end', at: hostNanoseconds(), source });
  }

  #stage(value: number, time: number, port: number): void {
    const name = STAGE_VALUES[value];
    if (name === undefined || port !== BOOT_STAGE_PORT) return;
    if (name === 'linux_start_kernel') this.#control.firstSign();
    const source = `port 0x${port.toString(16)} value ${value}`;
    this.#emit({ kind: 'stage', name, at: this.#control.origin + time, source });
  }

  /** Tells of console output, once until the owner has taken it, and of room for input that waits. */
  console(board: Board): void {
    const control = this.#control;
    if (control.wantsRoom && board.serialInput.halfEmpty && control.noticeRoom()) {
      this.#emit({ kind: 'room' });
    }
    if (board.serialOutput.length === 0) return;
    if (this.#control.firstSign()) {
      const source = 'first console byte';
      this.#emit({ kind: 'stage', name: 'linux_start_kernel', at: hostNanoseconds(), source });
    }
    if (this.#control.noticeConsole()) this.#emit({ kind: 'console' });
  }
}

/** An exception of the monitor itself, as the VM's end. */
export function failureEvent(thrown: unknown): Failure {
  const error = coded(thrown);
  if (error instanceof PandoError) {
    const { code, message, remedy } = error;
    return { kind: 'error', code, message, ...(remedy === undefined ? {} : { remedy }) };
  }
  const message = traceOf(error);
  return { kind: 'error', code: 'INTERNAL', message };
}
