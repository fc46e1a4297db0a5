/**
 * Hot code in a guest, beside `qemu-system-x86_64 -accel tcg`: the same kernel, initrd, command line and
 * memory; in each boot all workloads of bench/guest/hot-code.sh one after another, the systems in turn.
 *
 *     npm run bench -- hot-code [--runs 5] [--tier 1] [--only sha256,awk] [--json FILE]
 *
 * Speed is QEMU's median time over Pando's: 1 is as fast as QEMU.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { BOOT_STAGE_PORT } from '../arch/layout.js';
import { chooseBootImage } from '../cli/boot-image.js';
import { formatTable, styleFor } from '../cli/text-table.js';
import { qemuArguments, qemuVersion } from '../measure/qemu-peer.js';
import { summarise } from '../measure/statistics.js';
import { UserSpace } from '../test/testing/user-space.js';
import { type MarkedRun, runMarked } from './marked-process.js';

/** dist/bench/ is as deep below the project as the sources are below the folder that holds them. */
const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
const PROGRAM = '/debian/tests/hot-code.sh';
/** Value that the guest writes to the boot-stage port. */
const USER_SPACE = 7;
const LIMIT_MS = 600_000;

/** What is to be reached against QEMU. */
const MEAN_BOUND = 0.6;
const EACH_BOUND = 0.35;

/** One monitor with its options. */
interface System {
  readonly title: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly runs: MarkedRun[];
}

const { values } = parseArgs({
  args: process.argv.slice(2),
  options: {
    runs: { type: 'string', default: '5' },
    tier: { type: 'string', default: '1' },
    only: { type: 'string' },
    memory: { type: 'string', default: '1024' },
    json: { type: 'string' },
  },
});
const runs = Number(values.runs);
const megabytes = Number(values.memory);
if (!(runs >= 1) || !(megabytes >= 256)) throw new Error('--runs or --memory is no useful number');

function systems(kernel: string, initrd: string, commandLine: string): System[] {
  const pando = values.tier.split(',').map((tier) => ({
    title: `Pando, tier ${tier}`,
    program: process.execPath,
    args: [
      [join(PROJECT, 'bin/pando.js'), 'run', '--accel', 'wasm', '--tier', tier],
      ['--kernel', kernel, '--initrd', initrd, '--append', commandLine],
      ['--memory', `${megabytes}M`, '--serial', 'stdio'],
    ].flat(),
    runs: [],
  }));
  if (qemuVersion() === undefined) return pando;
  const peer = qemuArguments({
    kernel,
    initrd,
    commandLine,
    memory: megabytes * 2 ** 20,
    accelerator: 'tcg',
    stagePort: BOOT_STAGE_PORT,
    userSpaceValue: USER_SPACE,
  });
  return [...pando, { title: 'QEMU TCG', program: 'qemu-system-x86_64', args: peer, runs: [] }];
}

/** Median over the runs of a workload's time. */
function median({ runs }: System, workload: string, time: 'wallMs' | 'cpuMs'): number {
  const found = runs.flatMap((run) => run.workloads.filter(({ name }) => name === workload));
  return summarise(found.map((timed) => timed[time])).median;
}

/** Every boot of every system must have computed the same. */
function checkDigests(all: readonly System[]): void {
  const digests = new Map<string, string>();
  for (const { title, runs } of all) {
    for (const { name, digest } of runs.flatMap((run) => run.workloads)) {
      const expected = digests.get(name) ?? digest;
      digests.set(name, expected);
      if (digest !== expected) throw new Error(`${title}: ${name} computed something else`);
    }
  }
}

const seconds = (ms: number): string => (ms / 1000).toFixed(2);

const image = await chooseBootImage({}, () => undefined);
const space = await UserSpace.open();
const folder = mkdtempSync(join(tmpdir(), 'pando-hot-code-'));
try {
  const initrd = join(folder, 'initrd');
  // Linux unpacks archives that follow one another into the same tree.
  const archive = space.archive(join(PROJECT, 'bench/guest'));
  writeFileSync(initrd, Buffer.concat([readFileSync(image.initrd ?? ''), archive]));
  const only = values.only === undefined ? '' : ` bench.only=${values.only}`;
  const commandLine = `${image.commandLine} pando.exec=${PROGRAM}${only}`;
  const all = systems(image.kernel, initrd, commandLine);
  for (let run = 1; run <= runs; run++) {
    for (const { title, program, args, runs: done } of all) {
      console.error(`run ${run} of ${runs}: ${title}`);
      done.push(await runMarked(program, args, LIMIT_MS));
    }
  }
  checkDigests(all);

  const names = all[0]?.runs[0]?.workloads.map(({ name }) => name) ?? [];
  const peer = all.find(({ program }) => program !== process.execPath);
  const own = all.filter((system) => system !== peer);
  const speeds = own.map((system) =>
    names.map(
      (name) => (peer ? median(peer, name, 'wallMs') : NaN) / median(system, name, 'wallMs'),
    ),
  );
  const rows = names.map((name, at) => [
    name,
    ...all.map((system) => seconds(median(system, name, 'wallMs'))),
    ...all.map((system) => seconds(median(system, name, 'cpuMs'))),
    ...speeds.map((list) => list[at]?.toFixed(2) ?? ''),
  ]);
  const columns = [
    { title: 'workload', align: 'left' as const },
    ...all.map(({ title }) => ({ title: `${title}, s`, align: 'right' as const })),
    ...all.map(() => ({ title: 'CPU, s', align: 'right' as const })),
    ...own.map(() => ({ title: 'speed', align: 'right' as const })),
  ];
  console.log(formatTable(columns, rows, styleFor(process.stdout)));
  for (const [index, { title }] of own.entries()) {
    const list = speeds[index] ?? [];
    const mean = Math.exp(list.reduce((sum, speed) => sum + Math.log(speed), 0) / list.length);
    const least = Math.min(...list);
    const reached = mean >= MEAN_BOUND && least >= EACH_BOUND;
    console.log(
      `${title}: geometric mean ${mean.toFixed(2)} of QEMU's speed (bound ${MEAN_BOUND}), ` +
        `least ${least.toFixed(2)} (bound ${EACH_BOUND}): ${reached ? 'reached' : 'not reached'}`,
    );
  }
  if (values.json !== undefined) {
    const report = {
      kind: 'hot-code',
      qemu: qemuVersion() ?? null,
      kernel: image.kernel,
      commandLine,
      systems: all.map(({ title, program, args, runs: done }) => ({
        title,
        command: [program, ...args],
        runs: done,
      })),
    };
    writeFileSync(values.json, `${JSON.stringify(report, null, 2)}\n`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
