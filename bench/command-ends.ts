/**
 * How long the process group of a command lives after its end was asked for: by an abort, by its time, by kill,
 * by the death of the client, through `pando serve`. Milliseconds, as a process in the guest sees the group go; how
 * long `true` takes meanwhile tells how busy the host is.
 *
 *     npm run bench -- command-ends [of each, default 10]
 *
 * The exit status is 1 when a group lived longer than a second.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Sandbox } from 'e2b';
import { summarise } from '#dist/bench/statistics.js';
import { BenchServer } from './served.js';

const [count = 10] = process.argv.slice(2).map(Number);
const LIMITS = { requestTimeoutMs: 120_000, timeoutMs: 3_600_000 };
const LONGEST = 1000;
const TIME = 3000;
/** Three processes, of which two are not the leader. */
const GROUP = 'echo $$; sleep 1000 & sleep 1000 & sleep 1000; true';
const ENDS_WITH_CLIENT = { PANDO_END_WITH_CLIENT: '1' };

/** Ends a command's process group. @returns when its end was due */
type End = (sandbox: Sandbox, started: (pid: number) => Promise<void>) => Promise<number>;

/** However it ends. */
async function ended(command: { wait(): Promise<unknown> }): Promise<void> {
  await Promise.allSettled([command.wait()]);
}

async function byAbort(sandbox: Sandbox, started: (pid: number) => Promise<void>): Promise<number> {
  const stop = new AbortController();
  const options = { background: true, timeoutMs: 0, envs: ENDS_WITH_CLIENT } as const;
  const command = await sandbox.commands.run(GROUP, { ...options, signal: stop.signal });
  await started(command.pid);
  const due = performance.now();
  stop.abort();
  await ended(command);
  return due;
}

async function byTime(sandbox: Sandbox, started: (pid: number) => Promise<void>): Promise<number> {
  const due = performance.now() + TIME;
  const command = await sandbox.commands.run(GROUP, { background: true, timeoutMs: TIME });
  await started(command.pid);
  await ended(command);
  return due;
}

async function byKill(sandbox: Sandbox, started: (pid: number) => Promise<void>): Promise<number> {
  const command = await sandbox.commands.run(GROUP, { background: true, timeoutMs: 0 });
  await started(command.pid);
  const due = performance.now();
  await command.kill();
  await ended(command);
  return due;
}

async function byDeath(sandbox: Sandbox, started: (pid: number) => Promise<void>): Promise<number> {
  const script = `
    import { Sandbox } from 'e2b';
    const sandbox = await Sandbox.connect('${sandbox.sandboxId}');
    const envs = ${JSON.stringify(ENDS_WITH_CLIENT)};
    const options = { envs, timeoutMs: 0, onStdout: (pid) => console.log(pid) };
    await sandbox.commands.run('${GROUP}', options);`;
  const client = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [pid] = await once(client.stdout, 'data');
  await started(Number(pid));
  const due = performance.now();
  client.kill('SIGKILL');
  await once(client, 'exit');
  return due;
}

async function measure(name: string, sandbox: Sandbox, end: End): Promise<boolean> {
  const times: number[] = [];
  const rounds: number[] = [];
  for (let i = 0; i < count; i++) {
    const began = performance.now();
    await sandbox.commands.run('true');
    rounds.push(performance.now() - began);
    let seen: Promise<number> | undefined;
    const started = async (pid: number): Promise<void> => {
      const watch = `kill -0 -${pid} && echo; while kill -0 -${pid} 2>/dev/null; do sleep 0.01; done`;
      let begun = (): void => undefined;
      const looks = new Promise<void>((resolve) => {
        begun = resolve;
      });
      const options = { background: true, timeoutMs: 0, onStdout: () => begun() } as const;
      const watching = await sandbox.commands.run(watch, options);
      seen = watching.wait().then(() => performance.now());
      await looks;
    };
    const due = await end(sandbox, started);
    times.push((await (seen ?? Promise.reject(new Error('nobody watched')))) - due);
  }
  const { median, highest: longest } = summarise(times);
  const verdict = longest <= LONGEST ? 'gone' : 'LATE';
  console.log(
    `${name.padEnd(12)} p50 ${median.toFixed(0)}  longest ${longest.toFixed(0)}: ${verdict} ` +
      `(true: p50 ${summarise(rounds).median.toFixed(0)})`,
  );
  return longest <= LONGEST;
}

using _server = await BenchServer.start();
const sandbox = await Sandbox.create(LIMITS);
const verdicts = [
  await measure('abort', sandbox, byAbort),
  await measure('timeout', sandbox, byTime),
  await measure('kill', sandbox, byKill),
  await measure('lost client', sandbox, byDeath),
];
await sandbox.kill();
process.exitCode = verdicts.every(Boolean) ? 0 : 1;
