/** Writes a machine down with what runs in it, and goes on from there later, as often as wanted. */
import { Sandbox } from 'pando';

const name = `cookbook-${process.pid}`;

const first = await Sandbox.create();
await first.exec('(while :; do echo alive > /tmp/answer; sleep 1; done) > /dev/null 2>&1 &');
await first.files.writeFile('/root/notes', 'prepared\n');
await first.snapshot(name);
await first.close();

for (const round of [1, 2]) {
  const sandbox = await Sandbox.create({ snapshot: name });
  await sandbox.exec('rm -f /tmp/answer; until grep -q alive /tmp/answer 2> /dev/null; do :; done');
  console.log(round, (await sandbox.files.readFile('/root/notes', 'utf8')).trim());
  await sandbox.close();
}
await Sandbox.removeSnapshot(name);

// 1 prepared
// 2 prepared
