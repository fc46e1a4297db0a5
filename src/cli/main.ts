/** Entry of the command line, started by bin/pando.js. */
import { failure, runProgram } from './program.js';

/** Waits until a stream has passed on what it was given: exit would cut it off in a pipe. */
function flushed(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    if (stream.destroyed || stream.writableEnded) resolve();
    else stream.write('', () => resolve());
  });
}

let status: number;
try {
  status = await runProgram(process.argv.slice(2));
} catch (cause) {
  const { text, status: failed } = failure(cause);
  process.stderr.write(`${text}\n`);
  status = failed;
}
await Promise.all([flushed(process.stdout), flushed(process.stderr)]);
process.exit(status);
