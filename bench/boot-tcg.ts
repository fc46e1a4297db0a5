/**
 * Boot of Debian's kernel to user space, beside `qemu-system-x86_64 -accel tcg`: the same kernel, initrd,
 * command line and memory, the systems in turn, each boot in a new process. Pando once with the profile
 * that earlier boots left, once without any (docs/translator.md, "Profile").
 *
 *     npm run bench -- boot-tcg [--runs 5] [--tier 1] [--cpus-allowed LIST] [--node PATH …] [--json FILE]
 *
 * Each --node names a program of another version of Node.js, which boots with a kept profile, too. It starts without the
 * code cache of the bundles, which is the building version's: some 60 ms.
 *
 * With `--cpus-allowed 1` all systems run on the host's processor 1 alone. Wall time flatters who uses several processors,
 * so both clocks are compared, each as a ratio of medians.
 *
 * Time counts from just before the process is started until the line that the first process prints has
 * arrived on the process's standard output; it is found in the same way for all. Where NODE_EXTRA_CA_CERTS is
 * set, Node.js would read certificates for some 30 ms before anything else: Pando's processes are started without.
 */
import { execFileSync, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { BOOT_STAGE_PORT } from '#dist/arch/layout.js';
import { summarise } from '#dist/bench/statistics.js';
import { formatTable, styleFor } from '#dist/cli/terminal/text-table.js';
import { qemuArguments, qemuVersion } from '#dist/debug/qemu-peer.js';
import { NO_CERTIFICATES } from '#dist/fleet/process.js';
import { chooseBootImage } from '#dist/image/boot-image.js';
import { storeDirectory } from '#dist/image/directories.js';
import { USER_SPACE_LINE } from '#dist/image/init-script.js';
import { cpuMs, onProcessors } from './marked-process.js';

const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
const MEGABYTES = 1024;
/** Value that the guest writes to the boot-stage port. */
const USER_SPACE = 7;
const LIMIT_MS = 120_000;

/** At most so much of QEMU's time, by either clock. */
interface Bound {
  readonly wall: number;
  readonly cpu: number;
}

const BOUND_WITH_PROFILE: Bound = { wall: 0.85, cpu: 1 };
const BOUND_WITHOUT: Bound = { wall: 1.1, cpu: 1.3 };
/** With a profile, where Pando has one processor. */
const BOUND_ON_ONE: Bound = { wall: 1, cpu: 1 };

/** One boot. */
interface Boot {
  readonly wallMs: number;
  readonly cpuMs: number;
}

/** One monitor, booted again and again. */
interface System {
  readonly title: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** At most so much of the peer's time; the peer has none. */
  readonly bound?: Bound;
  /** Before each boot. */
  prepare(): void;
  readonly boots: Boot[];
}

/** Boots once; Pando then ends by itself, which is when it keeps its profile. */
function boot({ title, program, args, env, prepare, bound }: System): Promise<Boot> {
  prepare();
  const start = performance.now();
  const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe', 'pipe'] });
  const kill = (): void => {
    child.kill('SIGKILL');
  };
  process.once('exit', kill);
  return new Promise((resolve, reject) => {
    let output = '';
    let found: Boot | undefined;
    const timer = setTimeout(kill, LIMIT_MS);
    const take = (text: string): void => {
      output += text;
      if (found !== undefined || !output.includes(USER_SPACE_LINE)) return;
      found = { wallMs: performance.now() - start, cpuMs: cpuMs(child.pid ?? 0) };
      if (bound === undefined) kill();
    };
    child.stdout?.setEncoding('latin1').on('data', take);
    child.stderr?.setEncoding('latin1').on('data', (text: string) => {
      if (found === undefined) output += text;
    });
    child.once('error', reject);
    child.once('close', () => {
      clearTimeout(timer);
      process.removeListener('exit', kill);
      if (found !== undefined) resolve(found);
      else reject(new Error(`${title}: no user space; the last it said:\n${output.slice(-2000)}`));
    });
  });
}

const { values } = parseArgs({
  args: process.argv.slice(2),
  options: {
    runs: { type: 'string', default: '5' },
    tier: { type: 'string', default: '1' },
    'cpus-allowed': { type: 'string' },
    node: { type: 'string', multiple: true, default: [] },
    json: { type: 'string' },
  },
});
const runs = Number(values.runs);
if (!(runs >= 1)) throw new Error('--runs is no useful number');

const cpus = values['cpus-allowed'];
const one = cpus !== undefined && /^\d+$/.test(cpus);

const image = await chooseBootImage({}, () => undefined);
const folder = mkdtempSync(join(tmpdir(), 'pando-boot-tcg-'));

/** A store of its own with the user's images, so that profiles come and go without harm. */
function pando(name: string, bound: Bound, keep: boolean, node = process.execPath): System {
  const store = join(folder, name);
  cpSync(join(storeDirectory(), 'manifests'), join(store, 'manifests'), { recursive: true });
  symlinkSync(join(storeDirectory(), 'objects'), join(store, 'objects'));
  return {
    title: `Pando, tier ${values.tier}, ${name}`,
    ...onProcessors(
      cpus,
      node,
      [
        [join(PROJECT, 'bin/pando.js'), 'run', '--accel', 'wasm', '--tier', values.tier],
        ['--memory', `${MEGABYTES}M`, '--serial', 'stdio', '--until', USER_SPACE_LINE],
      ].flat(),
    ),
    env: { ...process.env, ...NO_CERTIFICATES, PANDO_STORE: store },
    bound,
    prepare: () => {
      if (!keep) rmSync(join(store, 'profiles'), { recursive: true, force: true });
    },
    boots: [],
  };
}

try {
  const kept = pando('kept profile', one ? BOUND_ON_ONE : BOUND_WITH_PROFILE, true);
  const others = values.node.map((node) => {
    const version = execFileSync(node, ['--version'], { encoding: 'utf8' }).trim();
    return pando(`kept profile, Node ${version}`, kept.bound ?? BOUND_WITH_PROFILE, true, node);
  });
  const systems = [kept, pando('no profile', BOUND_WITHOUT, false), ...others];
  if (qemuVersion() !== undefined) {
    const args = qemuArguments({
      kernel: image.kernel,
      initrd: image.initrd,
      commandLine: image.commandLine,
      memory: MEGABYTES * 2 ** 20,
      accelerator: 'tcg',
      stagePort: BOOT_STAGE_PORT,
      userSpaceValue: USER_SPACE,
    });
    const nothing = (): void => undefined;
    systems.push({
      title: 'QEMU TCG',
      ...onProcessors(cpus, 'qemu-system-x86_64', args),
      env: process.env,
      prepare: nothing,
      boots: [],
    });
  }
  console.error('the boot that leaves a profile');
  for (const system of [kept, ...others]) await boot(system);
  if (values.tier !== '0' && !existsSync(join(folder, 'kept profile', 'profiles'))) {
    throw new Error('no profile was kept');
  }
  for (let run = 1; run <= runs; run++) {
    for (const system of systems) {
      console.error(`run ${run} of ${runs}: ${system.title}`);
      system.boots.push(await boot(system));
    }
  }
  const wall = ({ boots }: System) => summarise(boots.map(({ wallMs }) => wallMs));
  const cpu = ({ boots }: System) => summarise(boots.map((one) => one.cpuMs));
  const peer = systems.find(({ bound }) => bound === undefined);
  const rows = systems.map((system) => {
    const { median, lowest, highest } = wall(system);
    const times = [median, lowest, highest, cpu(system).median];
    const figures = times.map((ms) => (ms / 1000).toFixed(2));
    const { bound } = system;
    if (bound === undefined || peer === undefined) return [system.title, ...figures];
    const compared = (ratio: number, most: number): string[] => [
      ratio.toFixed(2),
      `${most.toFixed(2)}: ${ratio <= most ? 'reached' : 'not reached'}`,
    ];
    return [
      system.title,
      ...figures,
      ...compared(median / wall(peer).median, bound.wall),
      ...compared(cpu(system).median / cpu(peer).median, bound.cpu),
    ];
  });
  const times = ['median, s', 'lowest', 'highest', 'CPU, s'];
  const titles = [...times, 'wall of QEMU', 'bound', 'CPU of QEMU', 'bound'];
  const columns = [
    { title: 'boot to user space', align: 'left' as const },
    ...titles.map((title) => ({ title, align: 'right' as const })),
  ];
  console.log(formatTable(columns, rows, styleFor(process.stdout)));
  if (values.json !== undefined) {
    const report = systems.map(({ title, program, args, boots }) => ({
      title,
      command: [program, ...args],
      boots,
    }));
    writeFileSync(
      values.json,
      `${JSON.stringify({ kind: 'boot-tcg', systems: report }, null, 2)}\n`,
    );
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
