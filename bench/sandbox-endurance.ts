/**
 * Sandboxes by the thousand: made, used and ended through `pando serve` with the npm package e2b, one after the
 * other and then several at a time. What the server holds is sampled while none is there, its garbage collected
 * and the threads of VMs ended; from the first third to the last it must not grow. A tenth as many go before: V8's
 * heaps have their size by then.
 *
 *     npm run bench -- sandbox-endurance [sandboxes, default 1000] [at a time, default 8]
 *
 * The exit status is 1 when a sandbox answered wrongly or something grew.
 */
import { CommandExitError, Sandbox } from 'e2b';
import { grownFigures } from './growth.js';
import { BenchServer, type ServerFigures } from './served.js';

const [sandboxes = 1000, atATime = 8] = process.argv.slice(2).map(Number);
const LIMITS = { requestTimeoutMs: 120_000, timeoutMs: 600_000 };
const SAMPLES = 12;
const WARM_UP = Math.ceil(sandboxes / 10);
/** Growth from the first third to the last that passes for none: V8's heaps and code go up and down. */
const GROWTH: Readonly<Record<keyof ServerFigures, number>> = {
  residentMiB: 24,
  codeMiB: 12,
  heapMiB: 2,
  mappings: 300,
  descriptors: 2,
  sockets: 16,
  threads: 1,
  storeFiles: 2,
  runtimeFiles: 0,
};
const wrong: string[] = [];

/** A sandbox's life, as a client has it: commands, files, one command that runs when it ends. */
async function live(index: number): Promise<void> {
  const sandbox = await Sandbox.create({ ...LIMITS, metadata: { index: String(index) } });
  const content = `sandbox ${index}\n`.repeat(1000);
  await sandbox.files.write('/root/content', content);
  const counted = await sandbox.commands.run('wc -c < /root/content; hostname');
  if (!counted.stdout.startsWith(`${content.length}\n`)) wrong.push(counted.stdout);
  if ((await sandbox.files.read('/root/content')) !== content) wrong.push(`${index}: other bytes`);
  const left = await sandbox.commands.run('sleep 1000', { background: true, timeoutMs: 0 });
  await sandbox.commands.run('exit 3').catch((error: unknown) => {
    if (!(error instanceof CommandExitError) || error.exitCode !== 3) wrong.push(String(error));
  });
  if (index % 2 === 0) await left.disconnect();
  else left.wait().catch(() => undefined);
  if (!(await sandbox.kill())) wrong.push(`${index}: had ended`);
}

/** Lives of sandboxes, so many at a time. */
async function lives(first: number, last: number, wide: number): Promise<void> {
  let next = first;
  const lane = async (): Promise<void> => {
    while (next < last) {
      const index = next;
      next += 1;
      await live(index);
    }
  };
  const lanes = await Promise.allSettled(Array.from({ length: wide }, lane));
  for (const each of lanes) if (each.status === 'rejected') wrong.push(String(each.reason));
}

/** Makes and ends `sandboxes` of them, so many at a time, and tells what grew. */
async function run(server: BenchServer, wide: number): Promise<string[]> {
  const samples: ServerFigures[] = [];
  const began = performance.now();
  const batch = Math.max(wide, Math.ceil(sandboxes / SAMPLES / wide) * wide);
  for (let done = 0; done < sandboxes; done += batch) {
    await lives(done, Math.min(done + batch, sandboxes), wide);
    samples.push(await server.figures());
  }
  const seconds = (performance.now() - began) / 1000;
  console.log(
    `${sandboxes} sandboxes, ${wide} at a time: ${seconds.toFixed(0)} s, ` +
      `${((seconds / sandboxes) * 1000).toFixed(0)} ms each; ${samples.length} samples`,
  );
  const names = Object.keys(GROWTH) as (keyof ServerFigures)[];
  return grownFigures(samples, names, (name) => GROWTH[name]);
}

using server = await BenchServer.start();
await lives(0, 1, 1);
await lives(1, WARM_UP, atATime);
await server.settle();
const grown = [...(await run(server, 1)), ...(await run(server, atATime))];
for (const text of wrong.slice(0, 20)) console.log(`wrong: ${text}`);
console.log(`${wrong.length} wrong answers, ${grown.length} figures grew`);
process.exitCode = wrong.length + grown.length > 0 ? 1 : 0;
