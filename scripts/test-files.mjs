/**
 * Runs test files in the order given, with Node's own runner: its command line sorts them. Arguments:
 * how many at a time, milliseconds for each test, files.
 */
import { run } from 'node:test';
import { spec, tap } from 'node:test/reporters';

const [concurrency, timeout, ...files] = process.argv.slice(2);
const events = run({ files, concurrency: Number(concurrency), timeout: Number(timeout) });
events.on('test:fail', () => {
  process.exitCode = 1;
});
events.compose(process.stdout.isTTY ? new spec() : tap).pipe(process.stdout);
