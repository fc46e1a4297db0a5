/** What a user sees while VMs boot: one line a VM. */

import { NOT_MADE } from '../fleet/planned-vm.js';
import type { Watched } from './supervise.js';
import { LiveLines, type TerminalStream } from './terminal/live-lines.js';

const REDRAW_MS = 200;

/** One VM's line: its latest stage, since when, and what its console said last. */
export function vmLine(watched: Watched): string {
  const stage = watched.vm.stages.at(-1);
  const seconds = stage === undefined ? '' : `${(stage.ms / 1000).toFixed(2)} s`;
  const before = watched.vm.pid === NOT_MADE ? 'waits for its turn' : 'starting';
  const state = watched.exit === undefined ? (stage?.name ?? before) : watched.exit.kind;
  const last = watched.tail.last(1)[0] ?? '';
  const head = `VM ${watched.vm.index}  ${state.padEnd(18)}  ${seconds.padStart(9)}`;
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
