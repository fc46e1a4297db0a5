/** The garbage collector, for tests of what stays. */
import { setTimeout } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** The collector's function; threads that start later find no `gc` of their own, as without this. */
function collector(): () => void {
  setFlagsFromString('--expose-gc');
  try {
    return runInNewContext('gc') as () => void;
  } finally {
    setFlagsFromString('--no-expose-gc');
  }
}

/**
 * Collects this thread's garbage: what a process has in memory says something about what it holds only after
 * this, for V8 collects when it likes.
 */
export const collectGarbage: () => void = collector();

/** The same until `condition` holds, within a minute or so: finalizers run in turns of their own. */
export async function collectedUntil(condition: () => boolean): Promise<void> {
  for (let tries = 0; !condition(); tries += 1) {
    if (tries >= 600) throw new Error('nothing has been collected in a minute');
    await setTimeout(100);
    collectGarbage();
  }
}
