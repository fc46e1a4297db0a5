/** Makes WebAssembly modules of regions, once for each content. */
import { operationNumbers } from '../isa/table.js';
import * as L from '../layout.js';
import { encodeModule } from './encoder.js';
import { CORE_IMPORTS, FUNCTION_TYPE } from './locals.js';
import { OperationTable } from './operations.js';
import { unpack } from './region.js';
import { type Translation, translate } from './translate.js';

/** A translated region, ready to be installed in any VM. */
export interface TranslatedRegion {
  readonly packed: Uint8Array;
  /** Links of its context. */
  readonly links: number;
  /** Records for the interpreter's routines, one after the other. */
  readonly records: Uint8Array;
}

/** Translated regions as the bytes of a module; its functions are called f0, f1, … in their order. */
export interface EncodedModule {
  readonly code: Uint8Array;
  readonly regions: readonly TranslatedRegion[];
}

/** The same, compiled. */
export interface TranslatedModule {
  readonly module: WebAssembly.Module;
  /** Length of the module. */
  readonly bytes: number;
  readonly regions: readonly TranslatedRegion[];
}

export function compile({ code, regions }: EncodedModule): TranslatedModule {
  const module = new WebAssembly.Module(code as Uint8Array<ArrayBuffer>);
  return { module, bytes: code.length, regions };
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

  /** Translates packed regions into one module. */
  translate(regions: readonly Uint8Array[]): EncodedModule {
    const translations = regions.map((packed) => translate(this.#table, unpack(packed)));
    const code = encodeModule(
      CORE_IMPORTS,
      FUNCTION_TYPE,
      translations.map(({ body }) => body),
    );
    return {
      code,
      regions: translations.map(({ links, records }, index) => ({
        packed: regions[index] as Uint8Array,
        links,
        records: joined(records),
      })),
    };
  }
}
