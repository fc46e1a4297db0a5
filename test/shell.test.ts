/** Debian's cloud kernel boots to a shell that a person can use. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bootToShell, debianImage } from './testing/boot.js';

const image = await debianImage();

test('the shell runs commands, keeps a history, and obeys Ctrl-C', async () => {
  const { vm, console } = await bootToShell(image);
  await using _ = vm;
  assert.deepEqual(
    vm.stages.map(({ name }) => name),
    ['vmm_init_end', 'linux_start_kernel', 'linux_start_user'],
  );
  assert.match(await console.run('uname -sm'), /^Linux x86_64\n$/);
});
