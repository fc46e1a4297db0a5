/**
 * Puts translations into one VM: functions into the core's table, contexts into the VM's memory, and
 * from then on the root blocks run translated.
 */
import type { Core } from '../core-module.js';
import { TABLE_SIZE } from '../core-module.js';
import * as L from '../layout.js';
import { CORE_IMPORTS } from './function-builder.js';
import { codeBytes, type RegionBlock } from './region.js';
import type { TranslatedModule, TranslatedRegion } from './translator.js';

/** Sub-blocks of 128 bytes that the blocks lie in, as core/blocks.ts counts them. */
function bitmapOf(blocks: readonly RegionBlock[]): number {
  let bitmap = 0;
  for (const { offset, length } of blocks) {
    for (let sub = offset >> 7; sub <= (offset + length - 1) >> 7; sub++) bitmap |= 1 << sub;
  }
  return bitmap >>> 0;
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0;
}

export class Installer {
  readonly #core: Core;
  readonly #memory: WebAssembly.Memory;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #cpu: number;
  /** Table index of a translation's function in this core. */
  readonly #functions = new Map<TranslatedRegion, number>();
  readonly #instances = new Map<TranslatedModule, WebAssembly.Instance>();
  #next = 1;

  constructor(core: Core, memory: WebAssembly.Memory, cpu: number) {
    this.#core = core;
    this.#memory = memory;
    this.#view = new DataView(memory.buffer);
    this.#bytes = new Uint8Array(memory.buffer);
    this.#cpu = cpu;
  }

  #functionOf(owner: TranslatedModule, region: TranslatedRegion): number {
    const known = this.#functions.get(region);
    if (known !== undefined) return known;
    if (this.#next >= TABLE_SIZE) return 0;
    let instance = this.#instances.get(owner);
    if (!instance) {
      const core: Record<string, WebAssembly.ImportValue> = {};
      const exports = this.#core as unknown as Record<string, WebAssembly.ImportValue>;
      for (const [name] of CORE_IMPORTS) core[name] = exports[name] as WebAssembly.ImportValue;
      instance = new WebAssembly.Instance(owner.module, { env: { memory: this.#memory }, core });
      this.#instances.set(owner, instance);
    }
    const index = this.#next++;
    this.#core.table.set(index, instance.exports[`f${region.index}`] as never);
    this.#functions.set(region, index);
    return index;
  }

  /** Makes `block` run as `region` says; false when the guest's code is not (any more) what was translated. */
  install(block: number, owner: TranslatedModule, translated: TranslatedRegion): boolean {
    const view = this.#view;
    const { region, links, records } = translated;
    const phys = view.getUint32(block + L.BLK_PHYS, true);
    const root = region.blocks[0];
    if (phys === L.DEAD_BLOCK || !root || (phys & 0xfff) !== root.offset) return false;
    if (view.getUint32(block + L.BLK_MODE, true) !== region.mode) return false;
    const page = phys - (phys & 0xfff);
    if (!equal(codeBytes(this.#bytes, page, region.blocks), region.bytes)) return false;
    const index = this.#functionOf(owner, translated);
    if (index === 0) return false;
    const linkBytes = (links * 4 + 15) & ~15;
    const size = linkBytes + L.CTX_RECORDS + records.length * L.REC_SIZE;
    const at = view.getUint32(L.VCPU_BLOCKS + L.CONTEXT_NEXT, true) || L.CONTEXT_ARENA;
    if (at + size > L.CONTEXT_ARENA_END) {
      this.#core.flushBlocks();
      return false;
    }
    view.setUint32(L.VCPU_BLOCKS + L.CONTEXT_NEXT, at + size, true);
    const context = at + linkBytes;
    this.#bytes.fill(0, at, context + L.CTX_RECORDS);
    const bitmap = bitmapOf(region.blocks);
    view.setUint32(context + L.CTX_FUNCTION, index, true);
    view.setUint32(context + L.CTX_BITMAP, bitmap, true);
    records.forEach((record, number) => {
      this.#bytes.set(record, context + L.CTX_RECORDS + number * L.REC_SIZE);
    });
    this.#core.coverCode(this.#cpu, phys, bitmap | 0);
    view.setUint32(block + L.BLK_CODE, context, true);
    return true;
  }
}
