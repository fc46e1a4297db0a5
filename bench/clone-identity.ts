/**
 * What tells clones of one template apart: twice so many sandboxes each read 32 bytes of `/dev/urandom` first
 * thing, make a UUID, and tell their host name and date. All but the date must differ; the date must be the host's
 * within 10 ms, give or take the time of the command.
 *
 *     npm run bench -- clone-identity [sandboxes, default 100] [at a time, default 4]
 */
import { Sandbox } from 'pando';

const [count = 100, atATime = 4] = process.argv.slice(2).map(Number);
const SCRIPT =
  'head -c 32 /dev/urandom | od -An -v -tx1 | tr -d " \\n"; echo; cat /proc/sys/kernel/random/uuid; ' +
  'hostname; adjtimex | grep -o "time.tv_.*[0-9]"';
const TOLERANCE = 10;
const WHAT = ['random', 'UUID', 'host name'] as const;

/** What the clones say, by line, and how far a date is off at most, in milliseconds. */
const said = WHAT.map((): string[] => []);
let off = 0;

async function ask(): Promise<void> {
  await using sandbox = await Sandbox.create();
  const before = Date.now();
  const { stdout } = await sandbox.exec(SCRIPT, { check: true });
  const after = Date.now();
  const lines = stdout.trimEnd().split('\n');
  for (const [index, all] of said.entries()) all.push(lines[index] ?? '');
  const [seconds = 0, microseconds = 0] = lines.slice(-2).map((line) => Number(line.split(':')[1]));
  const date = seconds * 1000 + microseconds / 1000;
  off = Math.max(off, before - date, date - after);
}

async function several(): Promise<void> {
  for (let left = count; left > 0; left -= atATime) {
    await Promise.all(Array.from({ length: Math.min(atATime, left) }, ask));
  }
}

await several();
await several();
WHAT.forEach((what, index) => {
  const all = said[index] ?? [];
  console.log(`${what.padEnd(12)} ${new Set(all).size} different of ${all.length}`);
});
const bad = off > TOLERANCE ? `, more than ${TOLERANCE}` : '';
console.log(`${'date'.padEnd(12)} ${Math.max(off, 0).toFixed(1)} ms off at most${bad}`);
