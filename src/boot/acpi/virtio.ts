/**
 * Virtio devices over memory-mapped registers, for the DSDT: Linux's virtio_mmio driver takes devices
 * with the hardware ID LNRO0005 (ACPI specification 6.4, 6.1.5 _HID, 6.2.17 _CCA, 6.4.3.4 and 6.4.3.6
 * resource descriptors).
 */
import * as aml from './aml.js';

export interface MmioRange {
  readonly address: number;
  readonly length: number;
  /** Interrupt input, edge-triggered. */
  readonly gsi: number;
}

/** @param index unique among the machine's virtio devices, 0–255 */
export function virtioMmioDevice(index: number, { address, length, gsi }: MmioRange): Uint8Array {
  const suffix = index.toString(16).toUpperCase().padStart(2, '0');
  return aml.device(`VR${suffix}`, [
    aml.name('_HID', aml.string('LNRO0005')),
    aml.name('_UID', aml.integer(index)),
    aml.name('_CCA', aml.integer(1)),
    aml.name('_CRS', aml.resourceTemplate([aml.memory32(address, length), aml.edgeInterrupt(gsi)])),
  ]);
}
