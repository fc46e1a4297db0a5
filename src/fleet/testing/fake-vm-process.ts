/** The program of a process that holds FakeVms. */
import { dieWithParent } from '../../host/parent-death.js';
import { serveVms } from '../vm-server.js';
import { FakeVm } from './fake-vm.js';

if (!dieWithParent(Number(process.argv[2]))) process.exit();
process.on('SIGINT', () => undefined);
serveVms(
  process,
  (options) => FakeVm.create(options),
  () => process.exit(0),
);
