/** Forks a FakeVm process, prints its pid, and waits to be killed. */
import { ForkedVm } from '../forked-vm.js';

const entry = new URL('./fake-vm-process.js', import.meta.url);
const machine = await ForkedVm.create(0, { kernel: '', commandLine: 'wait:60000' }, entry);
machine.start();
process.stdout.write(`${machine.pid}\n`);
