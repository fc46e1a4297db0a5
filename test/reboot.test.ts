/** `reboot -f` boots again, from the mapped images as they are in their files. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ImagePart, PartSharing, Vm } from 'pando';
import { bootToShell, debianImage } from './testing/boot.js';

const image = await debianImage();

/** Fifty copies of busybox are 24,000 pages; some of them the guest has used before. */
const FILLED = 16_000;

/** Pages by part. */
function pages(vm: Vm): Map<ImagePart, PartSharing> {
  return new Map(vm.memory().parts.map((part) => [part.part, part]));
}

test('reboot -f boots again, twice, with every image page mapped anew', async () => {
  const { vm, console } = await bootToShell(image, { deduplicate: false });
  await using _ = vm;
  assert.deepEqual(vm.memory().fallbacks, []);
  const first = pages(vm);
  for (const round of [1, 2]) {
    // Pages of zeros would go back to the host at some moment of their own.
    await console.run(
      `for n in $(seq 50); do cat /bin/busybox; done > /tmp/ballast; touch /tmp/${round}`,
    );
    const filled = pages(vm);
    assert.ok(filled.get('rest')!.own > first.get('rest')!.own + FILLED, 'the guest filled RAM');
    console.send('reboot -f\n');
    await console.expect('Linux version ');
    await console.expect('Pando: user space is up');
    await console.prompt();
    assert.equal(await console.run('ls /tmp'), '');
    const again = pages(vm);
    for (const part of ['text', 'rodata', 'data', 'initrd'] as const) {
      const { own, total } = first.get(part)!;
      const now = again.get(part)!;
      assert.equal(now.total, total);
      assert.ok(Math.abs(now.own - own) <= total / 50 + 8, `${part}: ${own} pages, now ${now.own}`);
    }
    const { own } = again.get('rest')!;
    assert.ok(own < filled.get('rest')!.own - FILLED, 'RAM of before the reboot is given back');
  }
  console.send('poweroff -f\n');
  assert.deepEqual(await vm.exited, { kind: 'poweroff' });
});
