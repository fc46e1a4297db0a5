/** Regions as functions of WebAssembly, and modules of those. */
import { operationNumbers } from '../isa/table.js';
import * as L from '../layout.js';
import { encodeFunction, encodeModule } from './encoder.js';
import { CORE_IMPORTS, FUNCTION_TYPE } from './locals.js';
import { OperationTable } from './operations.js';
import { PackedHead, regionKey, unpack } from './region.js';
import { type Translation, translate } from './translate.js';

/** A translated region, ready to be installed in any VM. */
export interface TranslatedRegion {
  readonly packed: Uint8Array;
  /** What starts there, as region.ts `rootHash` tells it. */
  readonly hash: number;
  /** Links of its context. */
  readonly links: number;
  /** Records for the interpreter's routines, one after the other. */
  readonly records: Uint8Array;
}

/** The same with its function, which can go into any module. */
export interface EncodedRegion extends TranslatedRegion {
  /** As region.ts `regionKey` tells it. */
  readonly key: string;
  /** As encoder.ts `encodeFunction` gives it. */
  readonly body: Uint8Array;
}

/** A compiled module; its table has the functions in the order of the regions. */
export interface TranslatedModule {
  readonly module: WebAssembly.Module;
  /** Length of the module. */
  readonly bytes: number;
  readonly regions: readonly TranslatedRegion[];
}

/**
 * A module of translated regions, as its bytes. With `optimised` and where V8 has --experimental-wasm-compilation-hints, it
 * is compiled by the optimising compiler alone.
 */
export function moduleOf(regions: readonly EncodedRegion[], optimised = false): Uint8Array {
  const bodies = regions.map(({ body }) => body);
  return encodeModule(CORE_IMPORTS, FUNCTION_TYPE, bodies, optimised);
}

function joined(records: Translation['records']): Uint8Array {
  const all = new Uint8Array(records.length * L.REC_SIZE);
  records.forEach((record, index) => {
    all.set(record, index * L.REC_SIZE);
  });
  return all;
}

export class Translator {
  readonly #table = new OperationTable(operationNumbers());

  translate(packed: Uint8Array): EncodedRegion {
    const { body, links, records } = translate(this.#table, unpack(packed));
    const hash = new PackedHead(packed).hash;
    const key = regionKey(packed);
    return { packed, key, hash, links, records: joined(records), body: encodeFunction(body) };
  }
}
