/** A host without devices, MSRs and time, for tests and benches of the core alone. */
import type { CoreImports } from '../core-module.js';

export const SILENT_HOST: CoreImports = {
  portIn: () => 0,
  portOut: () => undefined,
  mmioRead: () => 0,
  mmioWrite: () => undefined,
  readMsr: () => 0,
  writeMsr: () => 0,
  clock: () => 0,
  bootTime: () => 0,
  readCr8: () => 0,
  writeCr8: () => undefined,
};
