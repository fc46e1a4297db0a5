/**
 * Makes WebAssembly modules of regions, once for each content: every VM of the process that runs the
 * same code at the same address uses the same translation.
 */
import { operationNumbers } from '../isa/table.js';
import { encodeModule } from './encoder.js';
import { CORE_IMPORTS, FUNCTION_TYPE } from './function-builder.js';
import { OperationTable } from './operations.js';
import { type Region, type RegionBlock, regionKey } from './region.js';
import { successors, translate } from './translate.js';

/** A translated region, ready to be installed in any VM. */
export interface TranslatedRegion {
  readonly key: string;
  readonly region: Region;
  /** Index of its function in the module. */
  readonly index: number;
  readonly links: number;
  readonly records: readonly Uint8Array[];
}

/** A module of translated regions. */
export interface TranslatedModule {
  readonly module: WebAssembly.Module;
  readonly regions: readonly TranslatedRegion[];
}

export class Translator {
  readonly table = new OperationTable(operationNumbers());

  /** For RegionReader. */
  readonly successors = (block: RegionBlock): number[] => successors(this.table, block);

  /** Translates regions into one module. */
  translate(regions: readonly Region[]): TranslatedModule {
    const translations = regions.map((region) => translate(this.table, region));
    const bytes = encodeModule(
      CORE_IMPORTS,
      FUNCTION_TYPE,
      translations.map(({ body }) => body),
    );
    return {
      module: new WebAssembly.Module(bytes),
      regions: translations.map(({ links, records }, index) => {
        const region = regions[index] as Region;
        return { key: regionKey(region), region, index, links, records };
      }),
    };
  }
}
