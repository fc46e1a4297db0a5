/**
 * The comparison of the interpreter with the translator: the same guest twice, one run by this thread
 * and one by another, both with a clock that counts instructions. They meet at the end of each turn,
 * where their processors' state must be the same; every so often their RAM must be, too. Once something
 * differs, both are made anew and run to where it was not yet so, then turn by turn, then block by block.
 */
import { coreModule } from '../accel/wasm/core-module.js';
import { FORCED_TIER } from '../accel/wasm/translate/tier.js';
import { comparePages, compareRam } from '../memory/compare-ram.js';
import { LockstepGuest, type LockstepMachine } from './lockstep-guest.js';
import { ProcessorState } from './lockstep-state.js';
import { LockstepThread } from './lockstep-thread.js';

/** Blocks of a path that are kept, the last ones. */
const PATH_LIMIT = 24;
/** Bytes of code that are kept of a block: 32 instructions of 15 bytes. */
const BLOCK_BYTES = 480;
/** Pages that are named in a difference. */
const PAGES_NAMED = 8;
/** How often one guest may have to run on to the end of a longer block of the other's. */
const MEETINGS = 64;
/** A guest that has slept and said nothing for this many nanoseconds of its time waits for input. */
const IDLE = 60e9;

export interface LockstepOptions extends LockstepMachine {
  /** Entries of a block until it is translated. */
  readonly threshold: number;
  /** Instructions in a turn. */
  readonly turn: bigint;
  /** Instructions between two comparisons of RAM. */
  readonly ramEvery: bigint;
  /** Ends when the console has printed this. */
  readonly until?: string | undefined;
  /** Ends when the guest has written this to a boot-stage port. */
  readonly stage?: number | undefined;
  /** Ends after so many instructions of the comparison. */
  readonly limit?: bigint | undefined;
  /** Operation to translate wrongly, to see the difference found. */
  readonly planted?: string | undefined;
  readonly progress?: (progress: LockstepProgress) => void;
}

export interface LockstepProgress {
  readonly phase: 'compare' | 'find the turn' | 'find the block';
  readonly instructions: bigint;
  readonly turn: number;
  /** Last line of the console. */
  readonly console: string;
}

/** A block on the way to a difference. */
export interface PathBlock {
  readonly rip: bigint;
  /** 16, 32 or 64. */
  readonly bits: number;
  readonly instructions: number;
  /** Empty when the page was not to be found. */
  readonly code: Uint8Array;
}

export interface LockstepDifference {
  /** Turn, from 0, at whose end it was seen. */
  readonly turn: number;
  /** Between which instructions it came to be; undefined when a second run did not show it. */
  readonly between: readonly [from: bigint, to: bigint] | undefined;
  /** What differs, translated first. */
  readonly texts: readonly string[];
  /** What the interpreter executed between those two. */
  readonly path: readonly PathBlock[];
}

export interface LockstepReport {
  readonly instructions: bigint;
  readonly turns: number;
  /** Comparisons of RAM, and pages compared by all of them. */
  readonly ramComparisons: number;
  readonly ramPages: number;
  readonly end: 'text' | 'stage' | 'limit' | 'idle' | 'guest ended' | 'difference';
  readonly difference: LockstepDifference | undefined;
}

/** Both guests. */
class Pair {
  readonly interpreted: LockstepGuest;
  readonly translated: LockstepThread;
  readonly #state: ProcessorState;

  constructor({ threshold, planted, ...machine }: LockstepOptions) {
    const module = coreModule();
    this.interpreted = LockstepGuest.interpreted(machine);
    const { memory, timing } = LockstepGuest.create(machine, { module });
    this.translated = new LockstepThread(memory, {
      module,
      tier: { ...FORCED_TIER, threshold },
      timing,
      planted,
    });
    this.#state = new ProcessorState(this.interpreted.memory.buffer);
  }

  get count(): bigint {
    return this.interpreted.count;
  }

  get ended(): boolean {
    return this.interpreted.ended || this.translated.ended;
  }

  /** A turn of both, side by side; `length` 0 only lets timers and interrupts act. */
  turn(length: bigint): void {
    const limit = this.count + length;
    this.translated.turn(limit);
    this.interpreted.beginTurn();
    this.interpreted.advance(limit);
    this.translated.wait();
    this.#meet();
  }

  /** Each may have gone on to the end of a block that is longer than the other's. */
  #meet(): void {
    const { interpreted, translated } = this;
    for (let tries = 0; tries < MEETINGS && interpreted.count !== translated.state.count; tries++) {
      if (interpreted.count < translated.state.count) interpreted.advance(translated.state.count);
      else {
        translated.advance(interpreted.count);
        translated.wait();
      }
    }
  }

  /** The translated guest goes on for one block or region; the other one follows. Gives its path. */
  step(): PathBlock[] {
    const { interpreted, translated } = this;
    translated.advance(translated.state.count + 1n);
    translated.wait();
    const path: PathBlock[] = [];
    while (interpreted.count < translated.state.count) {
      const { count, bits } = interpreted;
      const { rip } = interpreted.state;
      const before = interpreted.code(rip, BLOCK_BYTES);
      interpreted.advance(count + 1n);
      const instructions = Number(interpreted.count - count);
      if (instructions === 0) break;
      const code = before ?? interpreted.code(rip, BLOCK_BYTES) ?? new Uint8Array();
      path.push({ rip, bits, instructions, code });
      if (path.length > PATH_LIMIT) path.shift();
    }
    this.#meet();
    return path;
  }

  /** What of the processors' state differs. */
  differences(): string[] {
    const { interpreted, translated } = this;
    const mine = interpreted.count;
    const its = translated.state.count;
    const { rflags } = interpreted.state;
    return [
      ...(mine === its ? [] : [`instructions: ${its} and ${mine}`]),
      ...translated.state.differences(this.#state),
      ...(rflags === translated.rflags
        ? []
        : [`rflags: 0x${translated.rflags.toString(16)} and 0x${rflags.toString(16)}`]),
    ];
  }

  async release(): Promise<void> {
    await this.translated.release();
    this.interpreted.memory.release();
  }
}

function ramTexts(pair: Pair, addresses: readonly number[]): string[] {
  const one = pair.translated.memory;
  const other = pair.interpreted.memory;
  const named = addresses.slice(0, PAGES_NAMED).map((address) => {
    const length = Math.min(8, 0x1000 - (address % 0x1000));
    const [its, mine] = [one, other].map((memory) =>
      Buffer.from(memory.bytes(address, length)).toString('hex'),
    );
    return `RAM at 0x${address.toString(16)}: bytes ${its} and ${mine}`;
  });
  const more = addresses.length - named.length;
  return more > 0 ? [...named, `RAM in ${more} more pages`] : named;
}

function lastLine(output: string): string {
  return (
    output
      .trimEnd()
      .split(/[\r\n]+/)
      .at(-1) ?? ''
  );
}

/** What comparisons of RAM have looked at. */
interface RamCount {
  comparisons: number;
  pages: number;
}

function ramDifferences(pair: Pair, count?: RamCount): readonly number[] {
  const { compared, differences } = compareRam(pair.translated.memory, pair.interpreted.memory);
  if (count !== undefined) {
    count.comparisons++;
    count.pages += compared;
  }
  return differences;
}

/** Why a run ends after a turn. */
class Ending {
  readonly #options: LockstepOptions;
  readonly #begin: bigint;
  #printed = 0;
  #saidLast: number;

  constructor(options: LockstepOptions, { interpreted }: Pair) {
    this.#options = options;
    this.#begin = interpreted.count;
    this.#saidLast = interpreted.time;
  }

  reason(pair: Pair): LockstepReport['end'] | undefined {
    const { until, stage, limit } = this.#options;
    const { output, halted, time } = pair.interpreted;
    if (pair.ended) return 'guest ended';
    if (limit !== undefined && pair.count - this.#begin >= limit) return 'limit';
    if (stage !== undefined && pair.interpreted.stage === stage) return 'stage';
    if (output.length !== this.#printed) {
      this.#printed = output.length;
      this.#saidLast = time;
      if (until !== undefined && output.includes(until)) return 'text';
    }
    return halted && time - this.#saidLast > IDLE ? 'idle' : undefined;
  }
}

interface Seen {
  readonly turn: number;
  readonly texts: readonly string[];
  /** An address in each page that differed. */
  readonly pages: readonly number[];
}

/** Runs the comparison. */
export async function lockstep(options: LockstepOptions): Promise<LockstepReport> {
  const ram: RamCount = { comparisons: 0, pages: 0 };
  const pair = new Pair(options);
  const begin = pair.count;
  let lastGood = 0;
  let turn = 0;
  let seen: Seen | undefined;
  let end: LockstepReport['end'] | undefined;
  let instructions = 0n;
  try {
    const ending = new Ending(options, pair);
    let nextRam = pair.count + options.ramEvery;
    for (; end === undefined; turn++) {
      pair.turn(options.turn);
      end = ending.reason(pair);
      let texts = pair.differences();
      let pages: readonly number[] = [];
      if (texts.length === 0 && (pair.count >= nextRam || end !== undefined)) {
        pages = ramDifferences(pair, ram);
        texts = ramTexts(pair, pages);
        nextRam = pair.count + options.ramEvery;
        if (texts.length === 0) lastGood = turn + 1;
      }
      if (texts.length > 0) {
        seen = { turn, texts, pages };
        end = 'difference';
      }
      report(options, 'compare', pair, turn);
    }
    instructions = pair.count - begin;
  } finally {
    await pair.release();
  }
  return {
    instructions,
    turns: turn,
    ramComparisons: ram.comparisons,
    ramPages: ram.pages,
    end,
    difference: seen && (await explain(options, seen, lastGood)),
  };
}

function report(
  { progress }: LockstepOptions,
  phase: LockstepProgress['phase'],
  pair: Pair,
  turn: number,
): void {
  const { count, output } = pair.interpreted;
  progress?.({ phase, instructions: count, turn, console: lastLine(output.slice(-400)) });
}

/** Runs both guests anew up to the beginning of a turn. */
async function replay<T>(
  options: LockstepOptions,
  phase: LockstepProgress['phase'],
  turns: number,
  then: (pair: Pair) => T,
): Promise<T> {
  const pair = new Pair(options);
  try {
    for (let turn = 0; turn < turns; turn++) {
      pair.turn(options.turn);
      report(options, phase, pair, turn);
    }
    return then(pair);
  } finally {
    await pair.release();
  }
}

/** Finds the first turn after which anything differs, RAM included, and the block in it. */
async function explain(
  options: LockstepOptions,
  seen: Seen,
  lastGood: number,
): Promise<LockstepDifference> {
  const first = await replay(options, 'find the turn', lastGood, (pair) => {
    for (let turn = lastGood; turn <= seen.turn; turn++) {
      pair.turn(options.turn);
      report(options, 'find the turn', pair, turn);
      const pages = ramDifferences(pair);
      const texts = [...pair.differences(), ...ramTexts(pair, pages)];
      if (texts.length > 0) return { turn, texts, pages };
    }
    return undefined;
  });
  const found = first ?? seen;
  const block = await replay(options, 'find the block', found.turn, (pair) => {
    pair.turn(0n);
    const end = pair.count + options.turn;
    for (let from = pair.count; from < end; from = pair.count) {
      const path = pair.step();
      const pages = comparePages(pair.translated.memory, pair.interpreted.memory, found.pages);
      const texts = [...pair.differences(), ...ramTexts(pair, pages)];
      if (texts.length > 0) return { between: [from, pair.count] as const, texts, path };
      if (pair.count === from) return undefined;
    }
    return undefined;
  });
  return { turn: found.turn, between: undefined, texts: found.texts, path: [], ...block };
}
