/** Sets a machine up once, and runs a test in copies of it, each with a setting of its own, all at a time. */
import { Sandbox } from 'pando';

const settings = ['fast', 'small', 'broken'];

const sandbox = await Sandbox.create();
await sandbox.files.writeFile('/app/test.sh', 'echo testing $MODE; test $MODE != broken');

const copies = await sandbox.fork(settings.length);
const results = await Promise.all(
  copies.map(async (copy, at) => {
    if (copy.status === 'rejected') throw copy.reason;
    const machine = copy.value;
    const env = { MODE: settings[at] };
    const { stdout, exitCode } = await machine.exec('sh /app/test.sh', { env });
    await machine.close();
    return `${exitCode === 0 ? 'passed' : 'failed'}: ${stdout.trim()}`;
  }),
);
console.log(results.join('\n'));
await sandbox.close();

// passed: testing fast
// passed: testing small
// failed: testing broken
