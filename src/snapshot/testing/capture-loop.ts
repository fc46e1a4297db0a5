/** Makes snapshots of a guest, one after the other, and prints the name of each, until it is killed. */
import { Vm } from '../../vm/vm.js';

const [kernel = '', prefix = ''] = process.argv.slice(2);
const vm = await Vm.create({ kernel, memory: 64 << 20, accelerator: 'wasm' });
vm.start();
for (let index = 0; ; index += 1) {
  const { name } = await vm.snapshot({ name: `${prefix}-${index}` });
  process.stdout.write(`${name}\n`);
}
