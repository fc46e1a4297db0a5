/**
 * What many VMs leave in the process that had them; garbage is collected only before its memory is measured.
 * bench/kvm-cycles.ts is the same for a thousand and more.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { collectGarbage } from '../../platform/testing/garbage.js';
import { Vm } from '../../vm/vm.js';
import { GuestCode } from './testing/guest.js';
import { type Held, held, threadsGone } from './testing/held.js';
import { ACCELERATORS, absence } from './testing/subject.js';

const WARM_UP = 20;
const CYCLES = 100;
const MEMORY = 64 << 20;
/** A guest that stayed would be 64 MiB of addresses; the heap of JavaScript takes some meanwhile. */
const ADDRESS_SLACK_MIB = 48;
/** Half of what would stay if each VM left 1 MiB. */
const RESIDENT_SLACK_MIB = 50;
/** The heap's own, at first one a VM on wasm; a VM that stayed would leave two or more beside them. */
const MAPPING_SLACK = 2 * CYCLES;

for (const accelerator of ACCELERATORS) {
  test(`${CYCLES} machines on ${accelerator} that come and go leave nothing behind`, async (t) => {
    const absent = absence(accelerator);
    if (absent !== undefined) {
      t.skip(absent);
      return;
    }
    const folder = mkdtempSync(join(tmpdir(), 'pando-cycles-'));
    try {
      const kernel = join(folder, 'guest.elf');
      writeFileSync(kernel, new GuestCode().stack().print('up\n').powerOff().image());
      const cycle = async (): Promise<void> => {
        await using vm = await Vm.create({ kernel, memory: MEMORY, accelerator });
        vm.start();
        assert.deepEqual(await vm.exited, { kind: 'poweroff' });
      };
      for (let i = 0; i < WARM_UP; i += 1) await cycle();
      await threadsGone();
      collectGarbage();
      const before = held();
      for (let i = 0; i < CYCLES; i += 1) await cycle();
      await threadsGone();
      const left = held();
      collectGarbage();
      const after = { ...left, residentMiB: held().residentMiB };
      const growth = (key: keyof Held): number => after[key] - before[key];
      const text = JSON.stringify({ before, after });
      assert.equal(after.ofMachines, 0, text);
      assert.ok(growth('descriptors') <= 0, text);
      assert.ok(growth('threads') <= 0, text);
      assert.ok(growth('mappings') < MAPPING_SLACK, text);
      assert.ok(growth('addressMiB') < ADDRESS_SLACK_MIB, text);
      assert.ok(growth('residentMiB') < RESIDENT_SLACK_MIB, text);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}
