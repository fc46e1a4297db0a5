/** Translates one operation wrongly on purpose, to show that a comparison of the tiers finds it. */
import { operationNumbers } from '../accel/wasm/isa/table.js';
import { REC_IMM } from '../accel/wasm/layout.js';
import { unpack } from '../accel/wasm/translate/region.js';
import { LocalService, type TranslationService } from '../accel/wasm/translate/service.js';
import { PandoError } from '../error.js';

export class FaultyService implements TranslationService {
  readonly #service = new LocalService();
  readonly #operation: number;

  /** @param operation name of the operation (isa/) whose immediate operand is taken for one more than it is */
  constructor(operation: string) {
    const number = operationNumbers().get(operation);
    if (number === undefined) {
      throw new PandoError('OPERATION_UNKNOWN', `there is no operation ${operation}`);
    }
    this.#operation = number;
  }

  request(regions: readonly Uint8Array[]): void {
    this.#service.request(
      regions.map((region) => {
        const packed = region.slice();
        for (const { operations } of unpack(packed).blocks) {
          for (const { op, record } of operations) {
            if (op === this.#operation) record[REC_IMM] = (record[REC_IMM] ?? 0) + 1;
          }
        }
        return packed;
      }),
    );
  }

  readonly ended = false;

  receive(): ReturnType<LocalService['receive']> {
    return this.#service.receive();
  }
}
