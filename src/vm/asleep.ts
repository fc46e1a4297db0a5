/** When a guest has nothing more to do. A host with other work makes a guest slow, but not sleep. */
import type { Vm } from './vm.js';

/** It is asleep and silent in so many looks at it. */
const IDLE_LOOKS = 10;
const LOOK_MS = 50;

/**
 * Resolves once the guest's user space has begun and the guest waits, its console silent, for half a second; also when
 * `signal` aborts.
 */
export async function asleep(
  vm: Pick<Vm, 'onConsole' | 'stages' | 'vcpuState'>,
  signal: AbortSignal,
): Promise<void> {
  let idle = 0;
  let looks: NodeJS.Timeout | undefined;
  const stop = vm.onConsole(() => {
    idle = 0;
  });
  try {
    await new Promise<void>((resolve) => {
      looks = setInterval(() => {
        const began = vm.stages.some(({ name }) => name === 'linux_start_user');
        idle = began && vm.vcpuState().halted ? idle + 1 : 0;
        if (idle === IDLE_LOOKS) resolve();
      }, LOOK_MS);
      if (signal.aborted) resolve();
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
  } finally {
    clearInterval(looks);
    stop();
  }
}
