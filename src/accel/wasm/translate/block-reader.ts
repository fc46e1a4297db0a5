/** Reads the decoded blocks in a VM's block cache (layout.ts BLK_*, REC_*). */
import { CONDITIONS } from '../isa/integer.js';
import * as L from '../layout.js';
import { CALLS, INDIRECT_JUMPS, RETURNS } from './region.js';

/** How a block ends, as far as regions are concerned. */
export type Ending =
  | 'falls'
  | 'condition'
  | 'jump'
  | 'call'
  | 'indirectCall'
  | 'indirectJump'
  | 'return'
  | 'other';

/** Whether code of a mode is translated: 64-bit code and flat 32-bit code. */
function isTranslated(mode: number): boolean {
  const kind = mode & (L.MODE_CODE_MASK | L.MODE_STEP | L.MODE_FLAT);
  return kind === L.MODE_CODE64 || kind === (L.MODE_CODE32 | L.MODE_FLAT);
}

/** Where the entries of a block are counted. */
export function heatAddress(block: number): number {
  if (block < L.BLOCK_ARENA) return block + L.BLK_HEAT;
  return L.BLOCK_HEAT + ((block - L.BLOCK_ARENA) >>> L.BLOCK_HEAT_SHIFT) * 4;
}

export class BlockReader {
  readonly #view: DataView;
  readonly #cpu: number;
  readonly #warmth: number;
  readonly #endings = new Map<number, Ending>();
  readonly #above: number;
  readonly #notAbove: number;

  /** @param warmth what has been taken off the count of entries of a block with BLK_WARM */
  constructor(
    view: DataView,
    cpu: number,
    operations: ReadonlyMap<string, number>,
    warmth: number,
  ) {
    this.#view = view;
    this.#warmth = warmth;
    this.#cpu = cpu;
    const end = (ending: Ending, names: readonly string[]): void => {
      for (const name of names) this.#endings.set(operations.get(name) ?? 0, ending);
    };
    end(
      'condition',
      CONDITIONS.map((condition) => `J${condition}`),
    );
    end('jump', ['JMP']);
    end('indirectCall', CALLS);
    end('call', ['CALL_64', 'CALL_32']);
    end('indirectJump', INDIRECT_JUMPS);
    end('return', RETURNS);
    this.#above = operations.get('JA') ?? 0;
    this.#notAbove = operations.get('JBE') ?? 0;
  }

  word(at: number): number {
    return this.#view.getUint32(at, true);
  }

  /** The block at guest physical `phys`, or 0 (core/blocks.ts findBlock). */
  find(phys: number, mode: number): number {
    const bucket = ((phys ^ (phys >>> 13)) & (L.BLOCK_HASH_ENTRIES - 1)) * 4;
    let block = this.word(L.BLOCK_HASH + bucket);
    for (let steps = 0; block !== 0 && steps < 1000; steps++) {
      if (block < L.BLOCK_ARENA || block >= L.BLOCK_ARENA_END) return 0;
      if (this.word(block + L.BLK_PHYS) === phys && this.word(block + L.BLK_MODE) === mode) {
        return block;
      }
      block = this.word(block + L.BLK_CHAIN);
    }
    return 0;
  }

  /** The block of one instruction at guest physical `phys` that crosses its page, if it is kept, or 0 (core/decode.ts). */
  findCrossing(phys: number, mode: number): number {
    const entry = (phys >>> 12) & (L.CROSSING_ENTRIES - 1);
    const block = this.#cpu + L.CROSSING_BLOCKS + entry * L.CROSSING_SIZE;
    return this.word(block + L.CROSSING_PHYS) === phys && this.mode(block) === mode ? block : 0;
  }

  /** Where the code of a block of a region stands. */
  code(block: number): number {
    const phys = this.phys(block);
    return phys === L.DEAD_BLOCK ? block + L.CROSSING_CODE : L.GUEST_BASE + phys;
  }

  /** The blocks with code in the page at guest physical `page`, in this mode. */
  *inPage(page: number, mode: number): Generator<number> {
    let block = this.word(L.PAGE_CODE + (page >>> 12) * L.PAGE_CODE_ENTRY + 4);
    for (let steps = 0; block !== 0 && steps < 1000; steps++) {
      if (this.word(block + L.BLK_MODE) === mode) yield block;
      block = this.word(block + L.BLK_PAGE_NEXT);
    }
  }

  /** Whether there is a live block at an address that was once one's. */
  isLive(block: number): boolean {
    if (block < L.BLOCK_ARENA || block >= L.BLOCK_ARENA_END) return false;
    return this.word(block + L.BLK_PHYS) !== L.DEAD_BLOCK;
  }

  /** Whether a region may start with a live block. */
  mayBeRoot(block: number): boolean {
    return isTranslated(this.mode(block)) && this.count(block) > 0;
  }

  phys(block: number): number {
    return this.word(block + L.BLK_PHYS);
  }

  mode(block: number): number {
    return this.word(block + L.BLK_MODE);
  }

  /** Number of operations. */
  count(block: number): number {
    return this.#view.getUint16(block + L.BLK_COUNT, true);
  }

  /** Length of the code in bytes. */
  length(block: number): number {
    return this.#view.getUint16(block + L.BLK_LENGTH, true);
  }

  /** Context of the block's translation, 0 without one. */
  context(block: number): number {
    return this.word(block + L.BLK_CODE);
  }

  /** How often the block was entered since it was decoded. */
  entries(block: number): number {
    const warm = this.#view.getUint16(block + L.BLK_WARM, true) !== 0;
    return Math.max(0, (this.word(heatAddress(block)) | 0) + (warm ? this.#warmth : 0));
  }

  ending(block: number): Ending {
    if (this.#view.getUint16(block + L.BLK_FALLS, true) !== 0) return 'falls';
    return this.#endings.get(this.#view.getUint16(this.#last(block), true)) ?? 'other';
  }

  /** Where a direct branch leads, from the start of its block. */
  target(block: number): number {
    return this.#view.getInt32(this.#last(block) + L.REC_IMM, true);
  }

  /**
   * Where control goes on, from the start of the block, when the conditional jump at its end has found a number
   * not to be above a bound; undefined when that is not what the jump tells.
   */
  withinBound(block: number): number | undefined {
    const op = this.#view.getUint16(this.#last(block), true);
    if (op === this.#above) return this.length(block);
    return op === this.#notAbove ? this.target(block) : undefined;
  }

  #last(block: number): number {
    return block + L.BLK_HEADER + (this.count(block) - 1) * L.REC_SIZE;
  }
}
