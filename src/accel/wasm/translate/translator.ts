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

/** A module of translated regions; its functions are called f0, f1, … in their order. */
export interface TranslatedModule {
  readonly module: WebAssembly.Module;
  /** Length of the module. */
  readonly bytes: number;
  readonly regions: readonly TranslatedRegion[];
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
  translate(regions: readonly Uint8Array[]): TranslatedModule {
    const translations = regions.map((packed) => translate(this.#table, unpack(packed)));
    const bytes = encodeModule(
      CORE_IMPORTS,
      FUNCTION_TYPE,
      translations.map(({ body }) => body),
    );
    return {
      module: new WebAssembly.Module(bytes),
      bytes: bytes.length,
      regions: translations.map(({ links, records }, index) => ({
        packed: regions[index] as Uint8Array,
        links,
        records: joined(records),
      })),
    };
  }
}
