/**
 * What a machine costs that goes on from a snapshot: time to its first instruction and to the first output of
 * a command typed on its console, and memory of many, beside clones of a running VM and beside boots.
 *
 *     npm run bench -- clones [--restores 200] [--runs 10] [--alive 64] [--counts 1,4,16,64] [--processes 8]
 *                             [--settle 10] [--json FILE]
 *
 * Times are those of this process, which has had VMs, from the call that makes the machine on: one machine
 * after another, then so many at once, until the last of them is so far. `pando run` is a process of its own,
 * timed from its start; the command is in its standard input from the beginning. Memory: USS and PSS
 * (/proc/PID/smaps_rollup) of a process that has nothing but the machines, and of several processes with one
 * machine of the snapshot each.
 */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { quantile, summarise } from '#dist/bench/statistics.js';
import { formatTable, styleFor } from '#dist/cli/terminal/text-table.js';
import { VmProcess } from '#dist/fleet/process.js';
import { ensureImage } from '#dist/image/ensure-image.js';
import { readProcessMemory } from '#dist/measure/process-memory.js';
import { ownProcess } from '#dist/platform/own-process.js';
import { SnapshotStore } from '#dist/snapshot/snapshot-store.js';
import { Vm } from '#dist/vm/vm.js';
import { GuestConsole } from './guest-console.js';

ownProcess();
const { values } = parseArgs({
  options: {
    restores: { type: 'string', default: '200' },
    runs: { type: 'string', default: '10' },
    alive: { type: 'string', default: '64' },
    counts: { type: 'string', default: '1,4,16,64' },
    processes: { type: 'string', default: '8' },
    settle: { type: 'string', default: '10' },
    json: { type: 'string' },
  },
});
const RUNS = Number(values.runs);
const COUNTS = values.counts.split(',').map(Number);
const NAME = `bench-clones-${process.pid}`;
const PATIENCE = 300;
const COMMAND = 'echo pando-$((40+2))\n';
const ANSWER = /pando-42/;
const PROMPT = / # /;
/** Machines before those that are timed: threads start, V8 compiles. */
const WARM_UP = 20;
const PROGRAM = fileURLToPath(new URL('../../bin/pando.js', import.meta.url));

const image = await ensureImage();
const options = {
  kernel: image.kernelPath,
  initrd: image.initrdPath,
  commandLine: image.commandLine,
  memory: 2 ** 30,
  accelerator: 'wasm',
} as const;
const style = styleFor(process.stdout);
const times: { what: string; first: number[]; answer: number[] }[] = [];
const memory: { what: string; count: number; uss: number; pss: number }[] = [];

const say = (what: string): boolean => process.stderr.write(`${what}\n`);

/** Starts a VM; gives the time of its first instruction. */
function started(vm: Vm): Promise<number> {
  const entered = new Promise<number>((resolve) => {
    vm.onStage(({ name, ms }) => {
      if (name === 'vmm_init_end') resolve(ms);
    });
  });
  vm.start();
  return entered;
}

/**
 * Times a VM from `began` on: its first instruction, and the answer to a command.
 * @param boots a kernel that boots takes no commands: they wait for its shell
 */
async function timed(
  vm: Vm,
  began: number,
  boots: boolean,
): Promise<[first: number, answer: number]> {
  const console = new GuestConsole(vm);
  const first = await started(vm);
  if (boots) await console.expect(PROMPT, PATIENCE);
  console.type(COMMAND);
  await console.expect(ANSWER, PATIENCE);
  return [first - began, performance.now() - began];
}

async function series(what: string, make: () => Promise<Vm>, boots = false): Promise<void> {
  say(what);
  const one = { what, first: [] as number[], answer: [] as number[] };
  for (let run = 0; run < RUNS; run += 1) {
    const began = performance.now();
    const vm = await make();
    const [first, answer] = await timed(vm, began, boots);
    one.first.push(first);
    one.answer.push(answer);
    await vm.close();
  }
  times.push(one);
}

/** Machines of the snapshot, one after another, to their first instruction. */
async function restored(count: number): Promise<void> {
  say(`${count} restored`);
  const first: number[] = [];
  for (let index = -WARM_UP; index < count; index += 1) {
    const began = performance.now();
    const vm = await Vm.restore({ snapshot: NAME });
    const at = await started(vm);
    if (index >= 0) first.push(at - began);
    await vm.close();
  }
  times.push({ what: 'restored', first, answer: [] });
}

/** How long the call takes that clones a running VM. */
async function cloned(parent: Vm): Promise<void> {
  say('vm.clone()');
  const first: number[] = [];
  for (let run = 0; run < RUNS; run += 1) {
    const began = performance.now();
    const [clone] = await parent.clone();
    first.push(performance.now() - began);
    if (clone?.status !== 'fulfilled') throw clone?.reason;
    await clone.value.close();
  }
  times.push({ what: 'vm.clone() of a running VM, the call', first, answer: [] });
}

/** So many at once, all of which stay. */
async function alive(count: number): Promise<void> {
  say(`${count} at once`);
  const began = performance.now();
  const all = Array.from({ length: count }, async () => {
    const vm = await Vm.restore({ snapshot: NAME });
    return { vm, times: await timed(vm, began, false) };
  });
  const done = await Promise.all(all);
  times.push({
    what: `${count} at once, the last`,
    first: [Math.max(...done.map(({ times: [first] }) => first))],
    answer: [Math.max(...done.map(({ times: [, answer] }) => answer))],
  });
  await Promise.all(done.map(({ vm }) => vm.close()));
}

/** Milliseconds from the start of a process to what its guest answers. */
function commandLine(): Promise<number> {
  const began = performance.now();
  const child = spawn(process.execPath, [PROGRAM, 'run', '--snapshot', NAME], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  child.stdin.write(COMMAND);
  return new Promise((resolve, reject) => {
    let text = '';
    child.stdout.on('data', (bytes: Buffer) => {
      text += bytes.toString('latin1');
      if (!ANSWER.test(text)) return;
      resolve(performance.now() - began);
      child.kill();
    });
    child.once('exit', () => reject(new Error(`pando run ended without an answer: ${text}`)));
  });
}

async function commands(): Promise<void> {
  say('pando run --snapshot');
  const answer: number[] = [];
  for (let run = 0; run < RUNS; run += 1) answer.push(await commandLine());
  times.push({ what: 'pando run --snapshot', first: [], answer });
}

/** Machines of the snapshot in a process that has nothing else. */
async function measured(count: number): Promise<void> {
  say(`memory of ${count}`);
  const host = new VmProcess();
  try {
    for (let index = 0; index < count; index += 1) {
      (await host.createVm({ snapshot: NAME })).start();
    }
    await sleep(Number(values.settle) * 1000);
    const { uss, pss } = readProcessMemory(host.pid);
    memory.push({ what: 'restored, one process', count, uss, pss });
  } finally {
    host.kill();
    await host.ended;
  }
}

/** Processes with a machine of the snapshot each. */
async function measuredProcesses(count: number): Promise<void> {
  say(`memory of ${count} processes`);
  const hosts = Array.from({ length: count }, () => new VmProcess({ vms: 'one' }));
  try {
    for (const host of hosts) (await host.createVm({ snapshot: NAME })).start();
    await sleep(Number(values.settle) * 1000);
    const all = hosts.map(({ pid }) => readProcessMemory(pid));
    const sum = (of: 'uss' | 'pss'): number => all.reduce((bytes, one) => bytes + one[of], 0);
    memory.push({ what: 'restored, a process each', count, uss: sum('uss'), pss: sum('pss') });
  } finally {
    for (const host of hosts) host.kill();
    await Promise.all(hosts.map(({ ended }) => ended));
  }
}

try {
  const parent = await Vm.create(options);
  parent.start();
  await new GuestConsole(parent).expect(PROMPT, PATIENCE);
  await parent.trim();
  await parent.snapshot({ name: NAME });
  await restored(Number(values.restores));
  await series('restored, with a command', () => Vm.restore({ snapshot: NAME }));
  await cloned(parent);
  await series('clone of a running VM', async () => {
    const [clone] = await parent.clone();
    if (clone?.status === 'fulfilled') return clone.value;
    throw clone?.reason;
  });
  await parent.close();
  await alive(Number(values.alive));
  await commands();
  await series('booted, warm process', () => Vm.create(options), true);
  for (const count of COUNTS) await measured(count);
  await measuredProcesses(Number(values.processes));
} finally {
  await new SnapshotStore().remove(NAME).catch(() => 0);
}

const shown = (list: readonly number[]): string[] => {
  if (list.length === 0) return ['-', '-', '-'];
  const { median, highest } = summarise(list);
  const p99 = quantile(
    [...list].sort((a, b) => a - b),
    0.99,
  );
  return [median, p99, highest].map((value) => value.toFixed(1));
};
const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);
const right = (title: string) => ({ title, align: 'right' }) as const;
const first = { title: 'machine', align: 'left' } as const;
process.stdout.write(
  formatTable(
    [
      first,
      right('machines'),
      right('first instruction, ms'),
      ...[right('p99'), right('highest')],
      right('answer, ms'),
      ...[right('p99'), right('highest')],
    ],
    times.map((one) => [
      one.what,
      String(Math.max(one.first.length, one.answer.length)),
      ...shown(one.first),
      ...shown(one.answer),
    ]),
    style,
  ),
);
process.stdout.write(
  formatTable(
    [first, right('machines'), right('USS each, MiB'), right('PSS each, MiB')],
    memory.map(({ what, count, uss, pss }) => [
      ...[what, String(count), mib(uss / count), mib(pss / count)],
    ]),
    style,
  ),
);
if (values.json !== undefined) writeFileSync(values.json, JSON.stringify({ times, memory }));
