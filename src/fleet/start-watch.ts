/**
 * Watches a process that starts: one that the system gives too few threads may wait for them for ever before
 * its first line runs (Node.js does, for V8's).
 */
import { readdirSync, readFileSync } from 'node:fs';

const LOOK_MS = 1000;
/** A process that has stood still at so many looks in a row will not start. */
const LOOKS = 5;

/**
 * The processor time and the states of all threads of a process (proc(5), /proc/PID/stat); undefined where
 * the system does not tell.
 */
function threadsOf(pid: number): { readonly ticks: number; readonly asleep: boolean } | undefined {
  try {
    let ticks = 0;
    let asleep = true;
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'latin1');
      // The name in parentheses may hold anything; behind it are the state, field 3, and the others.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      ticks += Number(fields[11]) + Number(fields[12]);
      asleep &&= fields[0] === 'S';
    }
    return { ticks, asleep };
  } catch {
    return undefined;
  }
}

/**
 * Calls `stuck` when a process does nothing any more and waits for nothing that a busy machine could owe it.
 * @returns what ends the watch: the process has started, or is gone
 */
export function watchStart(pid: number, stuck: () => void): () => void {
  let still = 0;
  let ticks = -1;
  const timer = setInterval(() => {
    const seen = threadsOf(pid);
    still = seen?.asleep === true && seen.ticks === ticks ? still + 1 : 0;
    ticks = seen?.ticks ?? -1;
    if (still < LOOKS) return;
    clearInterval(timer);
    stuck();
  }, LOOK_MS).unref();
  return () => clearInterval(timer);
}
