/**
 * Runs test files in the order given, with Node's own runner: its command line sorts them. What
 * failed is said once more at the end, where a log of thousands of lines is read first. Arguments:
 * how many at a time, milliseconds for each test, files.
 */
import { relative } from 'node:path';
import { run } from 'node:test';
import { spec, tap } from 'node:test/reporters';
import { inspect } from 'node:util';

const [concurrency, timeout, ...files] = process.argv.slice(2);
const failed = [];
const events = run({ files, concurrency: Number(concurrency), timeout: Number(timeout) });
events.on('test:fail', (event) => {
  process.exitCode = 1;
  // A suite fails by the tests in it, which say why.
  if (event.details.error?.failureType !== 'subtestsFailed') failed.push(event);
});
const report = events.compose(process.stdout.isTTY ? new spec() : tap);
report.pipe(process.stdout, { end: false });
report.on('end', () => {
  for (const { name, file, details } of failed) {
    const error = inspect(details.error?.cause ?? details.error, { depth: 4 });
    const where = file === undefined ? '' : `${relative(process.cwd(), file)}: `;
    process.stdout.write(`# FAILED ${where}${name}\n${error.replace(/^/gm, '#   ')}\n`);
  }
});
