/**
 * How long a sandbox takes: from `Sandbox.create` to the output of `echo`, and `exec` of `true` in one that
 * runs. Milliseconds; the template is made before.
 *
 *     npm run bench -- sandbox-latency [sandboxes, default 20] [commands, default 200]
 */
import { Sandbox } from 'pando';
import { quantile } from '#dist/bench/statistics.js';

const [sandboxes = 20, commands = 200] = process.argv.slice(2).map(Number);

async function timed(act: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await act();
  return performance.now() - start;
}

function line(what: string, times: readonly number[]): void {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (share: number): string => quantile(sorted, share).toFixed(1);
  console.log(`${what.padEnd(20)} p50 ${at(0.5)}  p99 ${at(0.99)}  of ${sorted.length}`);
}

await (await Sandbox.create()).close();
const creations: number[] = [];
for (let i = 0; i < sandboxes; i++) {
  let made: Sandbox | undefined;
  creations.push(
    await timed(async () => {
      made = await Sandbox.create();
      await made.exec(['echo', 'hello']);
    }),
  );
  await made?.close();
}
line('create to echo', creations);

await using sandbox = await Sandbox.create();
const runs: number[] = [];
for (let i = 0; i < commands; i++) runs.push(await timed(async () => sandbox.exec(['true'])));
line('exec of true', runs);
