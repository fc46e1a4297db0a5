/**
 * Guests of random code on both tiers (testing/random-guest.ts): none hangs or harms its process, and all can be closed
 * at any time. bench/random-guests.ts runs any number of them, and tells how long closing took.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Vm } from '../../vm/vm.js';
import { randomGuest } from './testing/random-guest.js';

const GUESTS = 100;
const SEED = 20_260_101;
/** How long a guest runs when it does not end by itself, in milliseconds. */
const RUNS = 25;

for (const tier of ['0', '1'] as const) {
  test(`${GUESTS} guests of random code on tier ${tier}`, { timeout: 300_000 }, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pando-random-'));
    const store = process.env.PANDO_STORE;
    try {
      // So many kernels have no place in the user's store.
      process.env.PANDO_STORE = join(folder, 'store');
      const kernel = join(folder, 'guest.elf');
      const create = (index: number): Promise<Vm> => {
        writeFileSync(kernel, randomGuest(SEED + index).image());
        const options = { immutableImages: true, deduplicate: false, tier } as const;
        return Vm.create({ kernel, memory: 32 << 20, accelerator: 'wasm', ...options });
      };
      // While there is a VM, threads stay.
      await using _ = await create(0);
      for (let index = 0; index < GUESTS; index++) {
        await using vm = await create(index);
        vm.start();
        const exit = await Promise.race([vm.exited, sleep(RUNS)]);
        // A guest may do anything but make the monitor fail.
        const failure = exit?.kind === 'error' ? exit.message : undefined;
        assert.equal(failure, undefined, `the guest of seed ${SEED + index}`);
      }
    } finally {
      if (store === undefined) delete process.env.PANDO_STORE;
      else process.env.PANDO_STORE = store;
      rmSync(folder, { recursive: true });
    }
  });
}
