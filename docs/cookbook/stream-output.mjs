/** Reads what a command prints while it runs, with its errors apart. */
import { Sandbox } from 'pando';

const sandbox = await Sandbox.create();
const build = sandbox.exec('echo compiling; sleep 1; echo "1 warning" >&2; echo linked');

const said = { stdout: '', stderr: '' };
for await (const { stream, data } of build) {
  // Here it could go to a page or a log. While this loop waits, the command waits, too.
  said[stream] += data;
}
console.log(said);
await sandbox.close();

// { stdout: 'compiling\nlinked\n', stderr: '1 warning\n' }
