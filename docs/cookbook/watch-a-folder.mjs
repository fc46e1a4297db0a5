/** Hears of what happens in a folder of a sandbox. */
import { Sandbox } from 'pando';

const sandbox = await Sandbox.create();
await sandbox.files.mkdir('/inbox');
const changes = await sandbox.files.watch('/inbox');
await sandbox.exec('cd /inbox; mkdir one; mv one two; rmdir two');

const seen = [];
for await (const { type, path } of changes) {
  seen.push(`${type} ${path}`);
  if (type === 'remove') break;
}
console.log(seen.join('\n'));
await sandbox.close();

// create one
// rename one
// rename two
// remove two
