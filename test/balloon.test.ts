/** A guest that frees memory gives it back to the host, again and again, and says how it uses the rest. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Image, Vm } from 'pando';
import { ensureImage } from 'pando';
import { bootToShell } from './testing/boot.js';

const MIB = 1 << 20;
const FILLED = 400 * MIB;
const ROUNDS = Number(process.env.PANDO_BALLOON_ROUNDS ?? 1);
/** Guests report within 10 s; a busy machine gets longer. */
const PATIENCE = 120_000;
/** Free pages between others, in runs of less than 128 KiB, are not reported; Linux keeps some for itself. */
const LEFT = 100 * MIB;

let image: Image;

before(async () => {
  image = await ensureImage('debian', { progress: () => {}, modules: true });
});

/** Bytes of guest RAM that the host holds for this VM alone. */
function ownBytes(vm: Vm): number {
  return vm.memory().parts.reduce((sum, { own }) => sum + own * 4096, 0);
}

test('what a guest frees goes back to the host', async () => {
  const { vm, console } = await bootToShell(image, {
    accelerator: 'wasm',
    memory: 640 * MIB,
    modules: image.modulesPath,
    balloon: true,
  });
  await using _ = vm;
  await console.run(
    'mkdir -p /mnt; mount -t tmpfs -o size=450M tmpfs /mnt; head -c 16777216 /dev/urandom > /part',
  );
  const first = ownBytes(vm);
  for (let round = 0; round < ROUNDS; round += 1) {
    await console.run('for i in $(seq 25); do cat /part; done > /mnt/full');
    const full = ownBytes(vm);
    assert.ok(full >= FILLED, `${full} bytes hold a file of ${FILLED}`);
    await console.run('rm /mnt/full');
    const begun = performance.now();
    while (full - ownBytes(vm) < 350 * MIB) {
      const now = ownBytes(vm);
      assert.ok(performance.now() - begun < PATIENCE, `${first} before, ${full} full, ${now} now`);
      await sleep(100);
    }
  }
  const left = ownBytes(vm) - first;
  assert.ok(left < LEFT, `${left} bytes more than before the first round`);

  await vm.refreshStatistics(PATIENCE);
  const { balloon } = vm.memory();
  assert.ok(balloon !== undefined && balloon.discarded >= ROUNDS * 350 * MIB);
  const { free = 0, total = 0 } = balloon.statistics ?? {};
  assert.ok(free > 350 * MIB && total > free && total <= 640 * MIB, `${free} of ${total} are free`);
  assert.equal(await console.run('echo still here'), 'still here\n');
});
