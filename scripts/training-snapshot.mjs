/**
 * Writes the snapshot with which bundle.mjs runs the bundles: `node training-snapshot.mjs KERNEL NAME WORD TIER`. The command
 * line has no option for a snapshot of a machine that does not translate.
 */
import { Vm } from '../dist/index.js';

const [kernel, name, word, tier] = process.argv.slice(2);
const vm = await Vm.create({ kernel, accelerator: 'wasm', tier });
try {
  const printed = new Promise((resolve, reject) => {
    let text = '';
    vm.onConsole((bytes) => {
      text += Buffer.from(bytes).toString('latin1');
      if (text.includes(word)) resolve();
    });
    vm.exited.then(({ kind }) => reject(new Error(`the guest has ended: ${kind}`)));
  });
  vm.start();
  await printed;
  await vm.snapshot({ name });
} finally {
  await vm.close();
}
