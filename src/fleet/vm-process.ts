/**
 * The program of a VM's own process (`--isolate process`). It imports the VM and nothing of the command
 * line: what is loaded here costs memory once a VM.
 */
import { WorkerPool } from '../run/wasm/pool.js';
import { Vm } from '../vm/vm.js';
import { serveVm } from './vm-server.js';

WorkerPool.shared().doWithoutWorkers();

// A terminal's Ctrl-C and its end reach the whole process group, and a service manager's SIGTERM the whole
// control group; the command decides, and closes the channel.
for (const signal of ['SIGINT', 'SIGHUP', 'SIGTERM']) process.on(signal, () => undefined);
serveVm(
  process,
  (options) => Vm.create(options),
  () => process.exit(0),
);
