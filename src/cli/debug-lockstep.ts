/**
 * `pando debug lockstep`: the interpreter and the translator run the same guest side by side, with a
 * clock that counts instructions, and are compared again and again; the first difference is shown with
 * the code that led to it.
 */
import { type Command, Option } from 'commander';
import { codeText, disassemble } from '../debug/disassembly.js';
import {
  type LockstepDifference,
  type LockstepProgress,
  type LockstepReport,
  lockstep,
} from '../debug/lockstep.js';
import type { LockstepMachine } from '../debug/lockstep-guest.js';
import { compareWithQemu, type QemuReport } from '../debug/qemu-comparison.js';
import { PandoError } from '../error.js';
import { type BootImage, chooseBootImage } from '../image/boot-image.js';
import { type GuestImages, openImages } from '../run/images.js';
import { type HeldSnapshot, holdSnapshot } from '../snapshot/held-snapshots.js';
import { LiveLines, type TerminalStream } from './terminal/live-lines.js';
import { STANDARD_STREAMS } from './terminal/standard-streams.js';
import { parseCount, parseSize } from './terminal/units.js';

/** Most that --turn and --threshold take. */
const COUNT_LIMIT = 1 << 30;
const STATUS_DIFFERENT = 1;
/** What the image's init writes to the boot-stage port when user space runs. */
const USER_SPACE = 7;
const REDRAW_MS = 250;
/** Blocks shown of the way to a difference. */
const PATH_SHOWN = 12;
const PAGES_NAMED = 8;
/** Instructions compared with QEMU when --limit does not say. */
const QEMU_LIMIT = '100000';

export interface LockstepFlags {
  readonly kernel?: string;
  readonly initrd?: string;
  readonly image?: string;
  readonly snapshot?: string;
  readonly append?: string;
  readonly memory: string;
  readonly until?: string;
  readonly limit?: string;
  readonly turn: string;
  readonly ram: string;
  readonly threshold: string;
  readonly json?: boolean;
  readonly against?: string;
}

/** Where a command writes, and what only tests set. */
export interface LockstepSurroundings {
  readonly print: (line: string) => void;
  /** Shows progress when it is a terminal. */
  readonly terminal?: TerminalStream;
  /** Operation to translate wrongly. */
  readonly planted?: string;
}

const millions = (count: bigint): string => `${(Number(count) / 1e6).toFixed(0)} million`;

function progressLines(progress: LockstepProgress, seconds: number): string[] {
  const { phase, instructions, console } = progress;
  const rate = (Number(instructions) / 1e6 / Math.max(seconds, 0.001)).toFixed(0);
  const what = phase === 'compare' ? 'comparing' : `different: running again to ${phase}`;
  const head = `${what}: ${millions(instructions)} instructions, ${seconds.toFixed(0)} s, ${rate} MIPS`;
  return [head, `  ${console}`];
}

function showProgress(stream: TerminalStream | undefined): {
  readonly update: (progress: LockstepProgress) => void;
  readonly end: () => void;
} {
  if (stream?.isTTY !== true) return { update: () => undefined, end: () => undefined };
  const lines = new LiveLines(stream);
  let began = performance.now();
  let phase: LockstepProgress['phase'] = 'compare';
  let drawn = 0;
  return {
    update: (progress) => {
      const now = performance.now();
      if (progress.phase !== phase) began = now;
      phase = progress.phase;
      if (now - drawn < REDRAW_MS) return;
      drawn = now;
      lines.show(progressLines(progress, (now - began) / 1000));
    },
    end: () => lines.clear(),
  };
}

const ENDS: Readonly<Record<LockstepReport['end'], string>> = {
  text: 'the console printed the text of --until',
  stage: 'user space runs',
  limit: 'the limit was reached',
  idle: 'the guest waits for input',
  'guest ended': 'the guest ended',
  difference: 'they differ',
};

/** What was compared, for people. */
function summary(report: LockstepReport, turn: bigint, seconds: number): string[] {
  const { instructions, turns, ramComparisons, ramPages, end } = report;
  return [
    `${instructions} instructions in ${turns} turns of ${turn}, ${seconds.toFixed(1)} s: ${ENDS[end]}`,
    `compared: registers, flags, segments, control and debug registers, MSRs, x87 and SSE state ${turns} times; ` +
      `RAM ${ramComparisons} times, ${ramPages} pages in all`,
  ];
}

/** The way to a difference with its instructions, last block last. */
async function pathLines({ path }: LockstepDifference): Promise<string[]> {
  const lines: string[] = [];
  for (const { rip, bits, instructions, code } of path.slice(-PATH_SHOWN)) {
    lines.push(`block at 0x${rip.toString(16)}, ${instructions} instructions:`);
    const shown = await disassemble(code, rip, bits, instructions);
    lines.push(...(shown.length > 0 ? codeText(shown) : ['  (its page is not in the TLB)']));
  }
  return lines;
}

async function differenceLines(difference: LockstepDifference): Promise<string[]> {
  const { turn, between, texts } = difference;
  const where =
    between === undefined
      ? ['running it again block by block did not show it']
      : [`between instructions ${between[0]} and ${between[1]}, translated and interpreted:`];
  return [`different in turn ${turn}`, ...where, ...texts, ...(await pathLines(difference))];
}

async function reportJson(report: LockstepReport, seconds: number): Promise<string> {
  const { difference } = report;
  const shown = difference && { ...difference, path: await pathLines(difference) };
  return JSON.stringify(
    { ...report, seconds, difference: shown ?? null },
    (_key, value: unknown) => (typeof value === 'bigint' ? Number(value) : value),
    2,
  );
}

/** What a comparison with QEMU found, for people. */
function qemuLines(report: QemuReport, seconds: number): string[] {
  const { instructions, copied, end, texts, code, pages } = report;
  const ends = { limit: 'the limit was reached', halt: 'HLT is next', difference: 'they differ' };
  const named = pages.slice(0, PAGES_NAMED).map((page) => `0x${page.toString(16)}`);
  return [
    `${instructions} instructions beside QEMU, ${seconds.toFixed(1)} s: ${ends[end]}`,
    `compared after each: general registers, RIP, RFLAGS, selectors, CR0, CR3, CR4, EFER; ` +
      `${copied} times registers were QEMU's (CPUID, time stamps, MSRs, devices)`,
    pages.length === 0
      ? 'all RAM is the same'
      : `RAM differs in ${pages.length} pages: ${named.join(' ')}${pages.length > named.length ? ' …' : ''}`,
    ...(texts.length > 0 ? ['Pando and QEMU:', ...texts, ...code] : ['no difference']),
  ];
}

/** Runs the comparison with QEMU; returns the exit status. */
async function againstQemu(
  flags: LockstepFlags,
  image: BootImage,
  images: GuestImages,
  memory: number,
  { print, terminal }: LockstepSurroundings,
): Promise<number> {
  const limit = parseCount('--limit', flags.limit ?? QEMU_LIMIT, 1, COUNT_LIMIT);
  const lines = new LiveLines(terminal ?? { write: () => undefined });
  const began = performance.now();
  let drawn = began;
  const { kernel, initrd, commandLine } = image;
  const report = await compareWithQemu({
    images,
    memory,
    kernel,
    initrd,
    commandLine,
    entry: images.plan.entry,
    limit,
    progress: (instructions, { state }) => {
      if (performance.now() - drawn < REDRAW_MS) return;
      drawn = performance.now();
      lines.show([`beside QEMU: ${instructions} instructions, at 0x${state.rip.toString(16)}`]);
    },
  });
  lines.clear();
  const seconds = (performance.now() - began) / 1000;
  const found =
    flags.json === true ? [JSON.stringify(report, null, 2)] : qemuLines(report, seconds);
  for (const line of found) print(line);
  return report.end === 'difference' ? STATUS_DIFFERENT : 0;
}

/** The machine of a snapshot, of the wasm accelerator and without devices beside its board. */
function machineOf({ snapshot, images }: HeldSnapshot): LockstepMachine {
  const { start, manifest } = snapshot;
  const { machine, disks, net, pmem, name } = manifest;
  const { accelerator, memory, commandLine, cpu, rng, vsock, balloon = false } = machine;
  const devices = rng || vsock || balloon || disks.length + pmem.length > 0 || net !== null;
  if (accelerator === 'wasm' && !devices) return { images, memory, commandLine, cpu, start };
  const what = devices ? 'has devices beside its board' : `is of ${accelerator}`;
  throw new PandoError('LOCKSTEP_SNAPSHOT', `the machine of snapshot ${name} ${what}`, {
    remedy: 'compare a machine of the wasm accelerator without disks, network and other devices',
  });
}

/** What is compared; `image` of a guest that boots. */
interface OpenMachine {
  readonly machine: LockstepMachine;
  readonly image?: BootImage;
  close(): void;
}

async function openMachine(flags: LockstepFlags, memory: number): Promise<OpenMachine> {
  if (flags.snapshot !== undefined) {
    const held = await holdSnapshot(flags.snapshot);
    try {
      return { machine: machineOf(held), close: () => held.release() };
    } catch (error) {
      held.release();
      throw error;
    }
  }
  const image = await chooseBootImage(flags, () => {});
  const { kernel, initrd, commandLine } = image;
  const images = openImages({ kernel, initrd, memory, immutable: false });
  return { machine: { images, memory, commandLine }, image, close: () => images.close() };
}

/** Runs the comparison; returns the exit status. */
export async function lockstepCommand(
  flags: LockstepFlags,
  surroundings: LockstepSurroundings,
): Promise<number> {
  const { print, terminal, planted } = surroundings;
  const memory = parseSize('--memory', flags.memory);
  const turn = BigInt(parseCount('--turn', flags.turn, 1, COUNT_LIMIT));
  const ramEvery = BigInt(parseCount('--ram', flags.ram, 1, COUNT_LIMIT));
  const threshold = parseCount('--threshold', flags.threshold, 2, COUNT_LIMIT);
  const limit =
    flags.limit === undefined
      ? undefined
      : BigInt(parseCount('--limit', flags.limit, 1, Number.MAX_SAFE_INTEGER));
  const { machine, image, close } = await openMachine(flags, memory);
  const progress = showProgress(terminal);
  try {
    if (flags.against !== undefined && image !== undefined)
      return await againstQemu(flags, image, machine.images, memory, surroundings);
    const began = performance.now();
    const boots = machine.start === undefined;
    const report = await lockstep({
      ...machine,
      threshold,
      turn,
      ramEvery,
      until: flags.until,
      stage: boots && flags.until === undefined ? USER_SPACE : undefined,
      limit,
      planted,
      progress: progress.update,
    });
    progress.end();
    const seconds = (performance.now() - began) / 1000;
    const { difference } = report;
    if (flags.json === true) print(await reportJson(report, seconds));
    else {
      for (const line of summary(report, turn, seconds)) print(line);
      const lines = difference ? await differenceLines(difference) : ['no difference'];
      for (const line of lines) print(line);
    }
    return difference ? STATUS_DIFFERENT : 0;
  } finally {
    progress.end();
    close();
  }
}

/** Adds the command to `pando debug`. */
export function registerLockstep(debug: Command): void {
  debug
    .command('lockstep')
    .description('run the interpreter and the translator side by side and compare them')
    .option('--kernel <file>', 'kernel: ELF with a PVH note, or bzImage')
    .option('--initrd <file>', 'initial RAM disk')
    .option('--image <name>', 'image of the store (default: debian)')
    .addOption(
      new Option('--snapshot <name>', 'go on from a snapshot instead of booting').conflicts([
        ...['kernel', 'initrd', 'image', 'append', 'memory', 'against'],
      ]),
    )
    .option('--append <text>', "kernel command line; after the image's own without --kernel")
    .option('--memory <size>', 'guest RAM', '512M')
    .option('--until <text>', 'stop when the console has printed this (default: in user space)')
    .option('--limit <n>', 'stop after so many instructions')
    .addOption(new Option('--turn <n>', 'instructions between comparisons').default('100000'))
    .addOption(
      new Option('--ram <n>', 'instructions between comparisons of RAM').default('50000000'),
    )
    .addOption(
      new Option('--threshold <n>', 'entries of a block until it is translated').default('100'),
    )
    .addOption(
      new Option('--against <what>', 'compare the interpreter with another emulator').choices([
        'qemu',
      ]),
    )
    .option('--json', 'as JSON')
    .action(async (flags: LockstepFlags) => {
      process.exitCode = await lockstepCommand(flags, {
        print: (line) => STANDARD_STREAMS.out.write(`${line}\n`),
        terminal: STANDARD_STREAMS.err,
      });
    });
}
