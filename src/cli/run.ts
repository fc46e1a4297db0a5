/** `pando run`: boots VMs and stays with them. */
import type { Command } from 'commander';
import { PandoError } from '../error.js';
import { type Makers, shareImages } from '../fleet/fleet.js';
import { VM_PROCESS_ENTRY } from '../fleet/process.js';
import { chooseBootImage } from '../image/boot-image.js';
import type { RootBoot } from '../image/root-boot.js';
import { availableMemory } from '../measure/capabilities.js';
import { chooseAccelerator } from '../run/accelerators.js';
import { pmemFits } from '../run/images.js';
import { snapshotMachine } from '../snapshot/open-snapshot.js';
import { wasmRefusal } from '../vm/options.js';
import type { VmOptions } from '../vm/types.js';
import { Vm } from '../vm/vm.js';
import { checkMemory } from './memory-check.js';
import { repeated } from './program.js';
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
import { parseRunOptions, type RunFlags, type RunOptions } from './run-options.js';
import type { MappedGuest } from './run-page.js';
import { runSession } from './session.js';
import { STATUSES } from './statuses.js';
import { commandText } from './terminal/command-text.js';
import { type ProgressLine, progressLine } from './terminal/image-progress.js';
import { STANDARD_STREAMS, type Streams } from './terminal/standard-streams.js';
import { styleFor } from './terminal/text-table.js';
import { withTerminalSize } from './terminal-size.js';

/** How real VMs are made. */
export const MAKERS: Makers = {
  shareImages,
  createVm: (options) => Vm.create(options),
  vmProcess: VM_PROCESS_ENTRY,
};

const EXIT_STATUSES = [
  '',
  'Exit status:',
  ...STATUSES.map(([status, meaning]) => `  ${status.padEnd(14)} ${meaning}`),
].join('\n');

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

/** An image, and what to run in its root file system; nothing: the image's own command. */
export interface RootProgram {
  readonly image: string;
  readonly command: readonly string[];
}

/** @throws PandoError OPTION_CONFLICT, and what `prepareRoot` throws */
async function rootOf(
  { image, command }: RootProgram,
  flags: RunFlags,
  diskBytes: number | undefined,
  streams: Streams,
  progress: ProgressLine,
): Promise<RootBoot> {
  const given = (['kernel', 'initrd', 'snapshot'] as const).find(
    (name) => flags[name] !== undefined,
  );
  if (given !== undefined) {
    throw new PandoError('OPTION_CONFLICT', `--${given} boots no root file system`, {
      remedy: 'use --image to name the image whose kernel is booted',
    });
  }
  const terminal = streams.input?.isTTY === true && streams.out.isTTY === true;
  const { image: kernel, append } = flags;
  const { prepareRoot } = await import('../image/root-boot.js');
  const choice = { image, command, terminal, kernel, append, diskBytes };
  return prepareRoot(choice, progress.sink).finally(() => progress.end());
}

/**
 * The root as memory that the guest maps, where that fits behind its RAM, else as its first disk; and the disk
 * for what it writes as its last.
 */
function rootDevices(
  { device, deviceBytes, scratch }: RootBoot,
  { memory, disks: given }: RunOptions,
): Pick<VmOptions, 'pmem' | 'disks'> {
  const last = scratch === undefined ? [] : [{ path: scratch, mode: 'cow' } as const];
  const disks = [...given, ...last];
  if (pmemFits(deviceBytes, memory)) return { pmem: device, disks };
  return { disks: [{ path: device, mode: 'ro' }, ...disks] };
}

/** @throws PandoError OPTION_CONFLICT */
function checkDiskSize({ diskSize }: RunOptions, program: RootProgram | undefined): void {
  if (diskSize === undefined || program !== undefined) return;
  throw new PandoError('OPTION_CONFLICT', '--disk-size is for a root file system', {
    remedy: 'name an image to run, or give a disk with --disk FILE,rw',
  });
}

/**
 * Boots, waits, reports.
 * @param program what to run, in an image's root file system; without it the kernel and initrd are booted
 * @returns the exit status
 * @throws PandoError
 */
export async function run(
  flags: RunFlags,
  streams: Streams = STANDARD_STREAMS,
  makers: Makers = MAKERS,
  program?: RootProgram,
): Promise<number> {
  const options = parseRunOptions(flags);
  checkDiskSize(options, program);
  const progress = progressLine(streams.err);
  const snapshot = flags.snapshot ?? (await templateOf(flags, options, program, progress));
  const target = options.report === undefined ? undefined : await reportTarget(options.report);
  if (target !== undefined) await checkReportFile(target.path);
  const wanted = target !== undefined && target.kind !== 'json';
  const page = wanted ? await import('./run-page.js') : undefined;
  let maps: readonly MappedGuest[] = [];
  if (flags.force !== true && snapshot === undefined) checkMemory(options, availableMemory());
  const captured = snapshot === undefined ? undefined : await snapshotMachine(snapshot);
  // Probed once: each process of a VM would do it again.
  const accelerator =
    captured?.accelerator ??
    (options.isolate === 'process'
      ? chooseAccelerator(
          options.accelerator,
          wasmRefusal(options.cpu, options.memory, options.cpus),
        )
      : options.accelerator);
  const { disks, rng, net } = options;
  const devices = disks.length > 0 || rng || net !== undefined || program !== undefined;
  // A guest that gets its drivers for other devices has this one's, too.
  const balloon = options.balloon ?? (devices && flags.kernel === undefined);
  const modules = devices || balloon;
  const root = program && (await rootOf(program, flags, options.diskSize, streams, progress));
  const image =
    captured ??
    root ??
    (await chooseBootImage({ ...flags, modules }, progress.sink).finally(() => progress.end()));
  const onTerminal =
    options.serial.kind === 'stdio' && options.count === 1 && streams.input?.isTTY === true;
  const tables = options.until !== undefined && !options.json && options.report === undefined;
  const session = runSession(
    {
      vm: {
        kernel: image.kernel,
        initrd: image.initrd,
        modules: 'modules' in image ? image.modules : undefined,
        disks,
        ...(root === undefined ? {} : rootDevices(root, options)),
        rng,
        balloon,
        net,
        commandLine: onTerminal
          ? withTerminalSize(image.commandLine, streams.out)
          : image.commandLine,
        memory: captured?.memory ?? options.memory,
        cpus: captured?.cpus ?? options.cpus,
        ...(options.cpu === undefined ? {} : { cpu: options.cpu }),
        accelerator,
        load: options.load,
        tier: options.tier,
        reboot: options.reboot,
      },
      snapshot,
      count: options.count,
      isolate: options.isolate,
      serial: options.serial,
      until: options.until,
      timeoutMs: options.timeoutMs,
      measure: tables || options.json || options.report !== undefined,
      settleMs: 0,
      lastingProgress: false,
      inspect: async (vms, { kernel, initrd }) => {
        const memory = captured?.memory ?? options.memory;
        maps = (await page?.mapGuests(vms, { kernel, initrd, memory })) ?? [];
      },
    },
    streams,
    makers,
  );
  const { report, complaints, status, outcome } = await session.finally(() => root?.close());
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

/** The image's template, when the run is of its machine, and neither waits for its boot nor measures it. */
async function templateOf(
  flags: RunFlags,
  options: RunOptions,
  program: RootProgram | undefined,
  progress: ProgressLine,
): Promise<string | undefined> {
  const { disks, rng, net, balloon, until, report, json, load, cpu, accelerator } = options;
  const own = [flags.kernel, flags.initrd, flags.append, program, net, until, report, cpu];
  const devices = disks.length > 0 || rng || balloon === true;
  const boots = flags.fresh === true || devices || json || load !== 'map';
  if (boots || own.some((given) => given !== undefined)) return undefined;
  const { templateFor } = await import('./templates.js');
  const { memory, cpus, tier } = options;
  const wanted = { memory, cpus, tier, accelerator };
  return templateFor(flags.image, wanted, progress.sink).finally(() => progress.end());
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

/** Options of a sandbox alone. */
const SANDBOX_OPTIONS = ['name', 'interactive', 'tty', 'rm', 'env', 'user', 'workdir'];
/** All that a sandbox has. */
const DETACHED_OPTIONS = [...SANDBOX_OPTIONS, 'detach', 'image'];

/** @throws PandoError OPTION_CONFLICT for what a sandbox does not have */
function checkDetachedOptions(command: Command): void {
  const given = command.options
    .map((option) => option.attributeName())
    .find((n) => !DETACHED_OPTIONS.includes(n) && command.getOptionValueSource(n) === 'cli');
  if (given === undefined) return;
  throw new PandoError('OPTION_CONFLICT', `-d makes a sandbox, which takes no --${given}`, {
    remedy: 'leave one of the two away',
  });
}

/** @throws PandoError OPTION_CONFLICT */
function checkNoSandboxOptions(command: Command): void {
  const given = SANDBOX_OPTIONS.find((name) => command.getOptionValueSource(name) === 'cli');
  if (given === undefined) return;
  throw new PandoError('OPTION_CONFLICT', `--${given} is for a sandbox: it needs -d`, {
    remedy: 'give -d, and see the program with pando attach',
  });
}

/** Adds the command to the program. */
export function registerRunCommand(program: Command): void {
  program
    .command('run')
    .description('run a program in an image, or boot a kernel (default: of the Debian image)')
    .argument('[image]', 'image with a root file system, or REGISTRY/NAME:TAG')
    .argument('[command...]', "program and its arguments, after -- (default: the image's own)")
    .option('--kernel <file>', "kernel: ELF with a PVH note, or bzImage (default: the image's)")
    .option('--initrd <file>', "initial RAM disk (default: the image's)")
    .option(
      '--disk <file,mode>',
      'disk: a raw file or block device, and ro, rw or cow; repeatable',
      repeated,
      [],
    )
    .option(
      '--disk-size <size>',
      'with an image: what the program writes goes to a disk of this size, not to RAM; gone with the VM',
    )
    .option('--net <kind>', 'network: none, user (no privilege needed) or passt', 'none')
    .option(
      '--publish <ports>',
      'port of the host that leads to the guest: [ADDRESS:]HOST:GUEST; repeatable',
      repeated,
      [],
    )
    .option(
      '--allow <rule>',
      'reach only this: CIDR or [*.]DOMAIN, with :PORT; repeatable (docs/network.md)',
      repeated,
      [],
    )
    .option('--deny <rule>', 'do not reach this, whatever --allow says; repeatable', repeated, [])
    .option('--rng', 'random bytes of the host for the guest')
    .option(
      '--balloon',
      'give memory that the guest frees back to the host (default: with any device)',
    )
    .option('--no-balloon', 'keep it')
    .option(
      '-d, --detach',
      'make a sandbox, print its id and leave it to pando ps, exec, attach, stop',
    )
    .option('--name <name>', 'with -d: its name')
    .option('-i, --interactive', 'with -d: standard input for its main command, see pando attach')
    .option('-t, --tty', 'with -d: a terminal for its main command')
    .option('--rm', 'with -d: keep nothing of it when its main command has ended')
    .option('-e, --env <name=value>', 'with -d: environment; repeatable', repeated, [])
    .option('-u, --user <user>', 'with -d: user of its commands (default: root)')
    .option('-w, --workdir <folder>', "with -d: folder of its commands (default: the user's home)")
    .option('--image <name>', 'image of the store (default: debian, pulled when it is missing)')
    .option('--append <text>', "kernel command line; without --kernel it follows the image's own")
    .option('--snapshot <name>', 'go on from a snapshot instead of booting')
    .option('--fresh', 'boot, although the image has a template (pando template)')
    .option('--memory <size>', 'guest RAM of each VM; on wasm up to 3G', '1G')
    .option('--cpus <number>', 'virtual processors of each VM', '1')
    .option(
      '--cpu <model>',
      'v1, v2 or max (default); on kvm also v3 and host, and ,-FEATURE behind it',
    )
    .option('--accel <name>', 'accelerator: auto, kvm or wasm', 'auto')
    .option('--tier <n>', 'wasm: 0 interprets, 1 also translates hot code; auto is 1', 'auto')
    .option('--load <how>', 'map: images copy-on-write over guest RAM; read: copy them', 'map')
    .option('--count <number>', 'how many VMs', '1')
    .option('--isolate <how>', 'shared: all VMs in one process; process: one each', 'shared')
    .option(
      '--serial <target>',
      'consoles: stdio, null, or file:PATTERN, where %d is the number of the VM from 0 (default: stdio; with --json null)',
    )
    .option('--no-reboot', 'a guest that resets ends its VM, instead of booting again')
    .option('--until <text>', 'wait until every console has printed this, measure, stop')
    .option('--timeout <seconds>', 'give up after this time')
    .option(
      '--report <path>',
      'FILE: measurements as JSON; DIR or FILE.html: a page with memory maps',
    )
    .option('--json', 'write the measurements to standard output')
    .option('--force', 'boot even if the memory does not hold so many VMs')
    .addHelpText('after', EXIT_STATUSES)
    .action(
      async (
        image: string | undefined,
        words: string[],
        flags: RunFlags,
        command: Command,
      ): Promise<void> => {
        if (flags.detach === true) {
          checkDetachedOptions(command);
          const { runDetached } = await import('./sandboxes/detached.js');
          await runDetached({ ...flags, image: image ?? flags.image }, words);
          return;
        }
        checkNoSandboxOptions(command);
        if (flags.snapshot !== undefined) checkSnapshotOptions(command);
        const program = image === undefined ? undefined : { image, command: words };
        process.exitCode = await run(flags, STANDARD_STREAMS, MAKERS, program);
      },
    );
}
