/** Starts a process with a FakeVm that holds its thread, prints its pid, and waits to be killed. */
import { setTimeout as sleep } from 'node:timers/promises';
import { VmProcess } from '../process.js';

const process_ = new VmProcess({ entry: new URL('./fake-vm-process.js', import.meta.url) });
const vm = await process_.createVm({ kernel: '', commandLine: 'say:held hold' });
const held = new Promise<void>((resolve) => vm.onConsole(() => resolve()));
vm.start();
await held;
// The guest has the thread a moment after it has said so.
await sleep(200);
process.stdout.write(`${process_.pid}\n`);
