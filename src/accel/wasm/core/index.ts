/** The core's exports: what the host side calls (../core-module.ts). */
export { getFlags } from "./flags";
export { run } from "./run";
export { deliver, interrupt, interruptible, nmi, nmiBlocked } from "./interrupt";
export { resetVcpu } from "./control";
export { updateKvmClock } from "./msr-kvm";
export { updateMode } from "./system-state";
