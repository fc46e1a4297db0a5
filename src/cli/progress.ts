/** What a user sees while VMs boot: one line a VM. */

import { NOT_MADE } from '../fleet/planned-vm.js';
import type { Watched } from './supervise.js';
import { LiveLines, type TerminalStream } from './terminal/live-lines.js';

const REDRAW_MS = 200;

/** One VM's line: its latest stage, since when, and what its console said last. */
export function vmLine(vm: Watched): string {
  const stage = vm.machine.stages.at(-1);
  const seconds = stage === undefined ? '' : `${(stage.ms / 1000).toFixed(2)} s`;
  const before = vm.machine.pid === NOT_MADE ? 'waits for its turn' : 'starting';
  const state = vm.exit === undefined ? (stage?.name ?? before) : vm.exit.kind;
  const last = vm.tail.last(1)[0] ?? '';
  const head = `VM ${vm.machine.index}  ${state.padEnd(18)}  ${seconds.padStart(9)}`;
  return `${head}  ${last}`.trimEnd();
}

/**
 * Keeps one line a VM up to date; shows nothing on anything but a terminal.
 * @param lasting whether the lines stay when it ends
 * @returns what ends it
 */
export function showVms(
  watched: readonly Watched[],
  stream: TerminalStream,
  lasting: boolean,
): () => void {
  if (stream.isTTY !== true) return () => undefined;
  const lines = new LiveLines(stream);
  const draw = (): void => lines.show(watched.map(vmLine));
  const timer = setInterval(draw, REDRAW_MS);
  draw();
  return () => {
    clearInterval(timer);
    if (lasting) draw();
    else lines.clear();
  };
}
