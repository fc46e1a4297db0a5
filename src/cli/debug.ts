/**
 * `pando debug lockstep`: the interpreter and the translator run the same guest side by side, with a
 * clock that counts instructions, and are compared again and again; the first difference is shown with
 * the code that led to it.
 */
import { type Command, Option } from 'commander';
import { PandoError } from '../error.js';
import { openImages } from '../vm/images.js';
import { LockstepGuest, TIER_OPTIONS } from '../vm/lockstep-guest.js';
import { chooseBootImage } from './boot-image.js';
import { parseCount, parseSize } from './units.js';

/** Most that --turn and --threshold take. */
const COUNT_LIMIT = 1 << 30;
/** Turns between two comparisons of RAM. */
const MEMORY_TURNS = 4096n;
const STATUS_DIFFERENT = 1;
/** Bytes shown as code. */
const CODE_BYTES = 96;
const CODE_LINES = 12;

export interface LockstepFlags {
  readonly kernel?: string;
  readonly initrd?: string;
  readonly image?: string;
  readonly append?: string;
  readonly memory: string;
  readonly until?: string;
  readonly turn: string;
  readonly threshold: string;
}

interface Difference {
  /** Turn in which it came to be, from 0. */
  readonly turn: bigint;
  readonly texts: readonly string[];
}

/** The two guests of one comparison: translated and interpreted. */
class Pair {
  readonly translated: LockstepGuest;
  readonly interpreted: LockstepGuest;
  turn = 0n;

  constructor(make: (translated: boolean) => LockstepGuest) {
    this.translated = make(true);
    this.interpreted = make(false);
  }

  begin(): void {
    this.translated.beginTurn();
    this.interpreted.beginTurn();
  }

  /** Both up to the same instruction, at `limit` or a little after it. */
  advance(limit: bigint): void {
    this.translated.advance(limit);
    this.interpreted.advance(this.translated.count);
    // One of them may have gone on to the end of a longer block.
    for (let tries = 0; tries < 64; tries++) {
      const { count } = this.translated;
      if (count === this.interpreted.count) return;
      if (count < this.interpreted.count) this.translated.advance(this.interpreted.count);
      else this.interpreted.advance(count);
    }
  }

  differences(): string[] {
    const { translated, interpreted } = this;
    const counts =
      translated.count === interpreted.count
        ? []
        : [`instructions: ${translated.count} and ${interpreted.count}`];
    return [...counts, ...translated.differences(interpreted)];
  }

  release(): void {
    this.translated.release();
    this.interpreted.release();
  }
}

function findDifference(
  pair: Pair,
  turnLength: bigint,
  until: string | undefined,
): Difference | undefined {
  for (;;) {
    pair.begin();
    pair.advance(pair.translated.count + turnLength);
    const texts = pair.differences();
    if (texts.length > 0) return { turn: pair.turn, texts };
    if (pair.turn % MEMORY_TURNS === 0n) {
      const at = pair.translated.memoryDifference(pair.interpreted);
      if (at >= 0) return { turn: pair.turn, texts: [`RAM at 0x${at.toString(16)}`] };
    }
    if (pair.translated.ended || pair.interpreted.ended) return undefined;
    if (until !== undefined && pair.translated.output.includes(until)) return undefined;
    pair.turn++;
  }
}

async function disassemble(code: Uint8Array, rip: bigint): Promise<string[]> {
  const { Decoder, DecoderOptions, Formatter, FormatterSyntax } = await import('iced-x86').catch(
    (cause: unknown) => {
      throw new PandoError('DISASSEMBLER_MISSING', 'the package iced-x86 is not installed', {
        remedy: 'run npm install iced-x86',
        cause,
      });
    },
  );
  const decoder = new Decoder(64, code, DecoderOptions.None);
  const formatter = new Formatter(FormatterSyntax.Intel);
  decoder.ip = rip;
  const lines: string[] = [];
  while (decoder.canDecode && lines.length < CODE_LINES) {
    const instruction = decoder.decode();
    lines.push(`  ${instruction.ip.toString(16)}  ${formatter.format(instruction)}`);
    instruction.free();
  }
  formatter.free();
  decoder.free();
  return lines;
}

/** Goes through a turn again block by block; returns lines about the first difference. */
async function explain(pair: Pair, turnLength: bigint, turn: bigint): Promise<string[]> {
  while (pair.turn < turn) {
    pair.begin();
    pair.advance(pair.translated.count + turnLength);
    pair.turn++;
  }
  pair.begin();
  const end = pair.translated.count + turnLength;
  while (pair.translated.count < end) {
    const { rip } = pair.interpreted.state;
    const { count } = pair.translated;
    pair.advance(count + 1n);
    const texts = pair.differences();
    if (texts.length > 0) {
      const code = pair.interpreted.code(rip, CODE_BYTES);
      const lines = code ? await disassemble(code, rip) : [];
      return [
        `between instruction ${count} and ${pair.translated.count}, from 0x${rip.toString(16)}:`,
        ...texts,
        ...lines,
      ];
    }
    if (pair.translated.count === count) break;
  }
  return ['not seen when the turn is gone through block by block'];
}

/** Runs the comparison; returns the exit status. */
export async function lockstep(
  flags: LockstepFlags,
  print: (line: string) => void,
): Promise<number> {
  const memory = parseSize('--memory', flags.memory);
  const turnLength = BigInt(parseCount('--turn', flags.turn, 1, COUNT_LIMIT));
  const threshold = parseCount('--threshold', flags.threshold, 2, COUNT_LIMIT);
  const image = await chooseBootImage(flags, () => {});
  const images = openImages({
    kernel: image.kernel,
    initrd: image.initrd,
    memory,
    immutable: image.immutable,
  });
  const make = (translated: boolean): LockstepGuest =>
    new LockstepGuest({
      images,
      memory,
      commandLine: image.commandLine,
      tier: translated ? { ...TIER_OPTIONS, threshold, batch: 1, delay: 0 } : undefined,
    });
  try {
    const pair = new Pair(make);
    let difference: Difference | undefined;
    try {
      difference = findDifference(pair, turnLength, flags.until);
      print(`${pair.translated.count} instructions in ${pair.turn + 1n} turns`);
    } finally {
      pair.release();
    }
    if (!difference) {
      print('no difference');
      return 0;
    }
    print(`different after turn ${difference.turn}:`);
    for (const text of difference.texts) print(text);
    const again = new Pair(make);
    try {
      for (const line of await explain(again, turnLength, difference.turn)) print(line);
    } finally {
      again.release();
    }
    return STATUS_DIFFERENT;
  } finally {
    images.close();
  }
}

/** Adds the command to the program. */
export function registerDebugCommand(program: Command): void {
  const debug = program.command('debug').description('tools for work on the engine');
  debug
    .command('lockstep')
    .description('run the interpreter and the translator side by side and compare them')
    .option('--kernel <file>', 'kernel: ELF with a PVH note, or bzImage')
    .option('--initrd <file>', 'initial RAM disk')
    .option('--image <name>', 'image of the store (default: debian)')
    .option('--append <text>', "kernel command line; after the image's own without --kernel")
    .option('--memory <size>', 'guest RAM', '512M')
    .option('--until <text>', 'stop when the console has printed this')
    .addOption(new Option('--turn <n>', 'instructions between comparisons').default('20000'))
    .addOption(
      new Option('--threshold <n>', 'entries of a block until it is translated').default('100'),
    )
    .action(async (flags: LockstepFlags) => {
      process.exitCode = await lockstep(flags, (line) => process.stdout.write(`${line}\n`));
    });
}
