/** `pando run`: boots VMs and stays with them. */
import { type Command, Option } from 'commander';
import { PandoError } from '../error.js';
import { type Makers, shareImages } from '../fleet/fleet.js';
import { VM_PROCESS_ENTRY } from '../fleet/process.js';
import { chooseBootImage } from '../image/boot-image.js';
import { chooseAccelerator } from '../run/accelerators.js';
import { snapshotMachine } from '../snapshot/snapshot.js';
import { Vm, wasmRefusal } from '../vm/vm.js';
import {
  checkReportFile,
  formatReport,
  type ReportTarget,
  type RunReport,
  reportTarget,
  writeReport,
  writeReportFolder,
  writtenLine,
} from './report.js';
import { reportTables } from './report-tables.js';
import { parseRunOptions, type RunFlags } from './run-options.js';
import type { MappedGuest } from './run-page.js';
import { runSession } from './session.js';
import { commandText } from './terminal/command-text.js';
import { progressLine } from './terminal/image-progress.js';
import { STANDARD_STREAMS, type Streams } from './terminal/standard-streams.js';
import { styleFor } from './terminal/text-table.js';

/** How real VMs are made. */
export const MAKERS: Makers = {
  shareImages,
  createVm: (options) => Vm.create(options),
  vmProcess: VM_PROCESS_ENTRY,
};

const EXIT_STATUSES = `
Exit status: 0 the guests powered off, --until was met, or Ctrl-A X; 1 an error; 2 a wrong command
line; 3 time-out; 4 a guest ended in a triple fault; 128 + number of the signal that ended Pando.`;

/**
 * Writes what `--report` asks for.
 * @param page undefined where JSON alone is asked for
 * @returns the line about it
 * @throws PandoError REPORT_UNWRITABLE
 */
async function writeTarget(
  { path, kind }: ReportTarget,
  report: RunReport,
  page: typeof import('./run-page.js') | undefined,
  maps: readonly MappedGuest[],
): Promise<string> {
  const command = commandText(process.argv.slice(2));
  if (page !== undefined && kind === 'folder') {
    const files = page.runFiles(report, maps, command);
    await writeReportFolder(path, files);
    return writtenLine(path, files);
  }
  await writeReport(
    path,
    page === undefined ? formatReport(report) : page.runPage(report, maps, command),
  );
  return writtenLine(path);
}

/**
 * Boots, waits, reports.
 * @returns the exit status
 * @throws PandoError
 */
export async function run(
  flags: RunFlags,
  streams: Streams = STANDARD_STREAMS,
  makers: Makers = MAKERS,
): Promise<number> {
  const options = parseRunOptions(flags);
  const target = options.report === undefined ? undefined : await reportTarget(options.report);
  if (target !== undefined) await checkReportFile(target.path);
  const wanted = target !== undefined && target.kind !== 'json';
  const page = wanted ? await import('./run-page.js') : undefined;
  let maps: readonly MappedGuest[] = [];
  const progress = progressLine(streams.err);
  const modules = options.disks.length > 0 || options.rng;
  const machine = flags.snapshot === undefined ? undefined : await snapshotMachine(flags.snapshot);
  const image =
    machine ??
    (await chooseBootImage({ ...flags, modules }, progress.sink).finally(() => progress.end()));
  // Probed once: each process of a VM would do it again.
  const accelerator =
    machine?.accelerator ??
    (options.isolate === 'process'
      ? chooseAccelerator(
          options.accelerator,
          wasmRefusal(options.cpu, options.memory, options.cpus),
        )
      : options.accelerator);
  const tables = options.until !== undefined && !options.json && options.report === undefined;
  const { report, complaints, status, outcome } = await runSession(
    {
      vm: {
        kernel: image.kernel,
        initrd: image.initrd,
        modules: 'modules' in image ? image.modules : undefined,
        disks: options.disks,
        rng: options.rng,
        commandLine: image.commandLine,
        memory: machine?.memory ?? options.memory,
        cpus: machine?.cpus ?? options.cpus,
        ...(options.cpu === undefined ? {} : { cpu: options.cpu }),
        accelerator,
        load: options.load,
        tier: options.tier,
      },
      snapshot: flags.snapshot,
      count: options.count,
      isolate: options.isolate,
      serial: options.serial,
      until: options.until,
      timeoutMs: options.timeoutMs,
      measure: tables || options.json || options.report !== undefined,
      lastingProgress: false,
      inspect: async (machines, { kernel, initrd }) => {
        const memory = machine?.memory ?? options.memory;
        maps = (await page?.mapGuests(machines, { kernel, initrd, memory })) ?? [];
      },
    },
    streams,
    makers,
  );
  if (complaints.length > 0) streams.err.write(`${complaints.join('\n')}\n`);
  if (report !== undefined) {
    if (target !== undefined) streams.err.write(await writeTarget(target, report, page, maps));
    if (options.json) streams.out.write(formatReport(report));
    if (tables && outcome.kind === 'until') {
      streams.err.write(`\n${reportTables(report, styleFor(streams.err))}`);
    }
  }
  return status;
}

/** Options of the machine, which a snapshot has. */
const MACHINE_OPTIONS = [
  ...['kernel', 'initrd', 'image', 'append', 'memory', 'cpus', 'cpu', 'tier', 'accel', 'load'],
];

/** @throws PandoError OPTION_CONFLICT */
function checkSnapshotOptions(command: Command): void {
  const given = MACHINE_OPTIONS.find((name) => command.getOptionValueSource(name) === 'cli');
  if (given === undefined) return;
  throw new PandoError(
    'OPTION_CONFLICT',
    `--snapshot brings a machine: --${given} cannot change it`,
    {
      remedy: `leave --${given} away, or boot without --snapshot`,
    },
  );
}

/** Adds the command to the program. */
export function registerRunCommand(program: Command): void {
  program
    .command('run')
    .description('boot VMs; without --kernel: of the Debian image, which is pulled when missing')
    .option('--kernel <file>', 'kernel: ELF with a PVH note, or bzImage')
    .option('--initrd <file>', 'initial RAM disk')
    .option(
      '--disk <file,mode>',
      'disk: a raw file or block device, and ro, rw or cow; repeatable',
      (value: string, all: readonly string[]) => [...all, value],
      [],
    )
    .option('--rng', 'random bytes of the host for the guest')
    .option('--image <name>', 'image of the store (default: debian)')
    .option('--append <text>', "kernel command line; after the image's own without --kernel")
    .option('--snapshot <name>', 'go on from a snapshot instead of booting')
    .option('--memory <size>', 'guest RAM', '1G')
    .option('--cpus <number>', 'virtual processors of each VM', '1')
    .option('--cpu <model>', 'kvm: host, v1, v2 or v3, with ,-FEATURE any number of times')
    .addOption(
      new Option('--tier <n>', 'wasm: 0 interprets, 1 also translates hot code').default('auto'),
    )
    .addOption(new Option('--accel <name>', 'accelerator: auto, kvm or wasm').default('auto'))
    .option('--load <how>', 'map: images copy-on-write over guest RAM; read: copy them', 'map')
    .option('--count <number>', 'how many VMs', '1')
    .option('--isolate <how>', 'shared: all VMs in one process; process: one each', 'shared')
    .option('--serial <target>', 'consoles: stdio, file:PATTERN (%d: number of the VM) or null')
    .option('--until <text>', 'wait until every console has printed this, measure, stop')
    .option('--timeout <seconds>', 'give up after this time')
    .option('--report <path>', 'FILE: the measurements as JSON; DIR or FILE.html: a page')
    .option('--json', 'write the measurements to standard output')
    .addHelpText('after', EXIT_STATUSES)
    .action(async (flags: RunFlags, command: Command) => {
      if (flags.snapshot !== undefined) checkSnapshotOptions(command);
      process.exitCode = await run(flags);
    });
}
