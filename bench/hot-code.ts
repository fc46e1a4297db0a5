/**
 * Hot code in a guest, beside `qemu-system-x86_64 -accel tcg`: the same kernel, initrd, command line and
 * memory; in each boot all workloads of bench/guest/hot-code.sh one after another, the systems in turn.
 *
 *     npm run bench -- hot-code [--runs 5] [--tier 1] [--cpu max] [--only sha256,awk] [--cpus-allowed LIST] [--json FILE]
 *
 * Speed is QEMU's median time over Pando's, by the clock and by processor time: 1 is as fast as QEMU. With
 * `--cpus-allowed 1` all systems run on the host's processor 1 alone.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { BOOT_STAGE_PORT } from '#dist/arch/layout.js';
import { qemuArguments, qemuVersion } from '#dist/debug/qemu-peer.js';
import { chooseBootImage } from '#dist/image/boot-image.js';
import { UserSpace } from '#dist/image/testing/user-space.js';
import { measure, printComparison, type System, writeComparison } from './comparison.js';
import { onProcessors } from './marked-process.js';

/** dist/benches/ is as deep below the project as the sources are below the folder that holds them. */
const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
const PROGRAM = '/debian/tests/hot-code.sh';
/** Value that the guest writes to the boot-stage port. */
const USER_SPACE = 7;
const LIMIT_MS = 600_000;
const BOUNDS = { mean: 1, each: 0.7, cpuMean: 0.9 };

const { values } = parseArgs({
  args: process.argv.slice(2),
  options: {
    runs: { type: 'string', default: '5' },
    tier: { type: 'string', default: '1' },
    cpu: { type: 'string', default: 'max' },
    only: { type: 'string' },
    memory: { type: 'string', default: '1024' },
    'cpus-allowed': { type: 'string' },
    json: { type: 'string' },
  },
});
const runs = Number(values.runs);
const megabytes = Number(values.memory);
if (!(runs >= 1) || !(megabytes >= 256)) throw new Error('--runs or --memory is no useful number');

function ownSystems(kernel: string, initrd: string, commandLine: string): System[] {
  const cpus = values.cpu.split(',');
  const choices = values.tier.split(',').flatMap((tier) => cpus.map((cpu) => ({ tier, cpu })));
  return choices.map(({ tier, cpu }) => ({
    title: `Pando, tier ${tier}${cpus.length > 1 ? `, ${cpu}` : ''}`,
    ...onProcessors(
      values['cpus-allowed'],
      process.execPath,
      [
        [join(PROJECT, 'bin/pando.js'), 'run', '--accel', 'wasm', '--tier', tier],
        ['--kernel', kernel, '--initrd', initrd, '--append', commandLine],
        ['--cpu', cpu, '--memory', `${megabytes}M`, '--serial', 'stdio'],
      ].flat(),
    ),
  }));
}

function peerSystems(kernel: string, initrd: string, commandLine: string): System[] {
  if (qemuVersion() === undefined) return [];
  const args = qemuArguments({
    kernel,
    initrd,
    commandLine,
    memory: megabytes * 2 ** 20,
    accelerator: 'tcg',
    stagePort: BOOT_STAGE_PORT,
    userSpaceValue: USER_SPACE,
  });
  return [
    { title: 'QEMU TCG', ...onProcessors(values['cpus-allowed'], 'qemu-system-x86_64', args) },
  ];
}

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
  const own = ownSystems(image.kernel, initrd, commandLine);
  const peer = peerSystems(image.kernel, initrd, commandLine);
  const all = await measure([...own, ...peer], runs, LIMIT_MS);
  printComparison(all.slice(0, own.length), all[own.length], BOUNDS);
  if (values.json !== undefined) writeComparison(values.json, 'hot-code', all);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
