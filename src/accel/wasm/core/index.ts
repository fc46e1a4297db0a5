/** The core's exports: what the host side calls (../core-module.ts). */
export { coverCode, enterOutlier, flushBlocks } from "./blocks";
export { callRegion, enterPage } from "./chain";
export { mulHigh } from "./divide";
export { dropForeignWrites } from "./foreign-writes";
export { getFlags, setSome } from "./flags";
export { commit, flushTlb, modifyMiss, readMiss, storeMiss } from "./mmu";
export { execute, run, wild } from "./run";
export { held, interrupt, interruptible, nmi, nmiBlocked } from "./interrupt";
export { resetVcpu } from "./control";
export { updateMode } from "./system-state";
export { lazyCarry, lazyCondition, read16Miss, store16Miss, storeFlags } from "./translated";
export { x87Registers } from "./x87";
