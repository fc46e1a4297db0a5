/**
 * The guest's memory map: which physical addresses are RAM, and which are spoken for.
 *
 * Source: ACPI specification 6.4, chapter 15 (system address map); the legacy hole is the PC's.
 */
import {
  ACPI_TABLES_ADDRESS,
  ACPI_TABLES_LIMIT,
  HIGH_MEMORY_START,
  HIGH_RAM_START,
  IOAPIC_ADDRESS,
  LEGACY_HOLE_START,
  LOCAL_APIC_ADDRESS,
  LOW_MEMORY_LIMIT,
  LOW_RAM_END,
  PAGE_SIZE,
} from '../arch/layout.js';
import { PandoError } from '../error.js';
import { MEMORY_TYPE, type MemoryMapEntry } from './start-info.js';

/** Linux takes no more entries than its boot parameters hold (E820_MAX_ENTRIES_ZEROPAGE - 1). */
export const MEMORY_MAP_LIMIT = 127;

/** A guest with less cannot hold the tables and a kernel at 1 MiB. */
const MINIMUM_MEMORY = 2 * HIGH_RAM_START;

/**
 * The memory map of a machine.
 * @param memoryBytes guest RAM counted from address 0, legacy hole included; a multiple of PAGE_SIZE.
 *   What does not fit below LOW_MEMORY_LIMIT lies from HIGH_MEMORY_START on.
 * @throws PandoError MEMORY_SIZE_INVALID
 */
export function buildMemoryMap(memoryBytes: number): MemoryMapEntry[] {
  if (
    !Number.isSafeInteger(memoryBytes) ||
    memoryBytes % PAGE_SIZE !== 0 ||
    memoryBytes < MINIMUM_MEMORY
  ) {
    throw new PandoError(
      'MEMORY_SIZE_INVALID',
      `guest memory of ${memoryBytes} bytes is not a multiple of ${PAGE_SIZE} of at least ${MINIMUM_MEMORY}`,
      { remedy: 'give the guest a whole number of MiB, 2 or more' },
    );
  }
  const { ram, reserved, acpi } = MEMORY_TYPE;
  const low = Math.min(memoryBytes, LOW_MEMORY_LIMIT);
  const entries: MemoryMapEntry[] = [
    { address: 0, size: LOW_RAM_END, type: ram },
    { address: LOW_RAM_END, size: LEGACY_HOLE_START - LOW_RAM_END, type: reserved },
    { address: ACPI_TABLES_ADDRESS, size: ACPI_TABLES_LIMIT, type: acpi },
    { address: HIGH_RAM_START, size: low - HIGH_RAM_START, type: ram },
    { address: IOAPIC_ADDRESS, size: PAGE_SIZE, type: reserved },
    { address: LOCAL_APIC_ADDRESS, size: PAGE_SIZE, type: reserved },
  ];
  if (memoryBytes > low) {
    entries.push({ address: HIGH_MEMORY_START, size: memoryBytes - low, type: ram });
  }
  return entries;
}
