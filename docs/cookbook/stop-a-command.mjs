/** Stops a command with all that it has started, as soon as it has said enough. */
import { Sandbox } from 'pando';

const sandbox = await Sandbox.create();
const stop = new AbortController();
const command = sandbox.exec('sleep 1000 & echo ready; wait', { signal: stop.signal });

try {
  for await (const { data } of command) {
    console.log(data.toString().trim());
    stop.abort(new Error('that is enough'));
  }
} catch (error) {
  console.log(error.message);
}

/** The signal has been sent; what it ends, ends at once, but not before it has been sent. */
async function left() {
  const { stdout } = await sandbox.exec('ps -o args | grep -c "^sleep 1000"');
  return stdout.trim() === '0' ? 0 : left();
}

console.log(`${await left()} processes are left`);
await sandbox.close();

// ready
// that is enough
// 0 processes are left
