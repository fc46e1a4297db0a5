/**
 * Waits for what a command waits for: every console has printed a text, every VM has ended, time is up,
 * or the user interrupts; and what each of these means as an exit status.
 */

import type { FleetVm } from '../fleet/fleet-vm.js';
import type { VmExit } from '../vm/types.js';
import {
  INTERRUPTION_STATUS,
  type Interruption,
  STATUS_FAILED,
  STATUS_OK,
  STATUS_TIMEOUT,
  STATUS_TRIPLE_FAULT,
} from './statuses.js';
import { ConsoleTail } from './terminal/console-lines.js';
import { TextWatch } from './terminal/text-watch.js';

/** How the waiting ended. */
export type Outcome =
  | { readonly kind: 'until' }
  /** VMs have ended: all, or one that can no longer print the text. */
  | { readonly kind: 'ended' }
  | { readonly kind: 'timeout' }
  | { readonly kind: 'interrupted'; readonly by: Interruption }
  /** The command itself cannot go on. */
  | { readonly kind: 'failed'; readonly error: Error };

/** One VM under supervision. Make it before the VM starts, so that no byte is missed. */
export class Watched {
  readonly tail = new ConsoleTail();
  /** How the VM ended; undefined while it runs. */
  exit: VmExit | undefined;
  private readonly watch: TextWatch | undefined;
  private readonly unsubscribe: () => void;
  private notify: () => void = () => undefined;

  /** @param until the text that is waited for; none when undefined */
  constructor(
    readonly vm: FleetVm,
    until: string | undefined,
  ) {
    this.watch = until === undefined ? undefined : new TextWatch(until);
    this.unsubscribe = vm.onConsole((bytes) => {
      this.tail.feed(bytes);
      if (this.watch !== undefined && !this.watch.seen && this.watch.feed(bytes)) this.notify();
    });
    void vm.exited.then((exit) => {
      this.exit = exit;
      this.notify();
    });
  }

  /** Whether the text has been printed; true when there is none to wait for. */
  get done(): boolean {
    return this.watch?.seen ?? true;
  }

  /** Whether a text is waited for at all. */
  get waits(): boolean {
    return this.watch !== undefined;
  }

  /** Calls `listener` on each change of `exit` and `done`. */
  onChange(listener: () => void): void {
    this.notify = listener;
  }

  release(): void {
    this.notify = () => undefined;
    this.unsubscribe();
  }
}

function settled(watched: readonly Watched[]): Outcome | undefined {
  const waits = watched.some((vm) => vm.waits);
  if (waits && watched.every((vm) => vm.done)) return { kind: 'until' };
  if (waits && watched.some((vm) => vm.exit !== undefined && !vm.done)) return { kind: 'ended' };
  return watched.every((vm) => vm.exit !== undefined) ? { kind: 'ended' } : undefined;
}

/**
 * @param timeoutMs counted from this call; no limit when undefined
 * @param interrupted settles when the user wants an end or something has failed; never rejects
 */
export function supervise(
  watched: readonly Watched[],
  timeoutMs: number | undefined,
  interrupted: Promise<Interruption | Error>,
): Promise<Outcome> {
  return new Promise((resolve) => {
    let timer: NodeJS.Timeout | undefined;
    const end = (outcome: Outcome): void => {
      clearTimeout(timer);
      for (const vm of watched) vm.onChange(() => undefined);
      resolve(outcome);
    };
    const look = (): void => {
      const outcome = settled(watched);
      if (outcome !== undefined) end(outcome);
    };
    if (timeoutMs !== undefined) timer = setTimeout(() => end({ kind: 'timeout' }), timeoutMs);
    void interrupted.then((by) =>
      end(typeof by === 'string' ? { kind: 'interrupted', by } : { kind: 'failed', error: by }),
    );
    for (const vm of watched) vm.onChange(look);
    look();
  });
}

/** The command's exit status. */
export function exitStatus(outcome: Outcome, watched: readonly Watched[]): number {
  if (outcome.kind === 'timeout') return STATUS_TIMEOUT;
  if (outcome.kind === 'interrupted') return INTERRUPTION_STATUS[outcome.by];
  if (outcome.kind === 'failed') return STATUS_FAILED;
  if (watched.some((vm) => vm.exit?.kind === 'shutdown')) return STATUS_TRIPLE_FAULT;
  const failed = watched.some((vm) => vm.exit?.kind === 'error' || !vm.done);
  if (failed) return STATUS_FAILED;
  const statuses = watched.map(({ exit }) => (exit?.kind === 'poweroff' ? exit.status : undefined));
  return statuses.find((status) => status !== undefined && status !== 0) ?? STATUS_OK;
}
