/** The core's exports: what the host side calls (../engine.ts). */
export { run } from "./run";
