/**
 * The program of a process that holds VMs. It imports the VM and nothing of the command line: what is loaded
 * here costs memory once a process. Its arguments: the number of the process that started it, and
 * WITHOUT_WORKERS.
 */
import { dieWithParent } from '../host/parent-death.js';
import { ownProcess } from '../platform/own-process.js';
import { WorkerPool } from '../run/wasm/pool.js';
import { Vm } from '../vm/vm.js';
import { WITHOUT_WORKERS } from './messages.js';
import { serveVms } from './vm-server.js';

const [parent, ...flags] = process.argv.slice(2);
if (!dieWithParent(Number(parent))) process.exit();
ownProcess();
if (flags.includes(WITHOUT_WORKERS)) WorkerPool.shared().doWithoutWorkers();

// A terminal's Ctrl-C and its end reach the whole process group, and a service manager's SIGTERM the whole
// control group; the command decides, and closes the channel.
for (const signal of ['SIGINT', 'SIGHUP', 'SIGTERM']) process.on(signal, () => undefined);
serveVms(
  process,
  (options) => Vm.create(options),
  () => process.exit(0),
);
