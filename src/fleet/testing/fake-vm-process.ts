/** The program of a process that holds a FakeVm. */
import { serveVm } from '../vm-server.js';
import { FakeVm } from './fake-vm.js';

process.on('SIGINT', () => undefined);
serveVm(
  process,
  (options) => FakeVm.create(options),
  () => process.exit(0),
);
