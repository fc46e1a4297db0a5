/**
 * Puts everything that a PVH guest reads before it has drivers into its memory.
 *
 * Source: Xen "x86/HVM direct boot ABI"; the addresses are layout.ts's.
 */

import { ENTRY_TSS_BYTES, entryGdt } from '../arch/entry-state.js';
import {
  ACPI_TABLES_ADDRESS,
  COMMAND_LINE_ADDRESS,
  ENTRY_GDT_ADDRESS,
  ENTRY_TSS_ADDRESS,
  MEMORY_MAP_ADDRESS,
  MODULE_LIST_ADDRESS,
  START_INFO_ADDRESS,
} from '../arch/layout.js';
import { PandoError } from '../error.js';
import { encodeCommandLine } from '../loader/command-line.js';
import { buildAcpiTables } from './acpi/tables.js';
import { buildMemoryMap, MEMORY_MAP_LIMIT } from './memory-map.js';
import {
  type BootModule,
  encodeMemoryMap,
  encodeModuleList,
  encodeStartInfo,
  HVM_MODLIST_ENTRY_BYTES,
} from './start-info.js';

const MODULE_LIMIT = Math.floor(
  (MEMORY_MAP_ADDRESS - MODULE_LIST_ADDRESS) / HVM_MODLIST_ENTRY_BYTES,
);

/** Where boot data goes. */
export interface BootWriter {
  /** Copies `bytes` to guest physical `address`. */
  write(address: number, bytes: Uint8Array): void;
}

export interface BootData {
  /** Guest RAM in bytes, as for `buildMemoryMap`. */
  readonly memoryBytes: number;
  readonly vcpus: number;
  /** Without the terminating zero; it is encoded as UTF-8. */
  readonly commandLine: string;
  /** The initrd first, if there is one; below 4 GiB. */
  readonly modules: readonly BootModule[];
  /** AML of devices beside those of the board, for the DSDT. */
  readonly dsdtDevices?: readonly Uint8Array[];
}

/**
 * Writes start info, module list, memory map, command line, ACPI tables, and the entry's GDT and TSS.
 * Nothing is written when something does not fit.
 * @returns the address of hvm_start_info, for EBX
 * @throws PandoError COMMAND_LINE_TOO_LONG, COMMAND_LINE_CONTROL_CHARACTER, BOOT_MODULES_TOO_MANY,
 *   MEMORY_MAP_TOO_LONG, and what buildMemoryMap and buildAcpiTables throw
 */
export function writeBootData(writer: BootWriter, data: BootData): number {
  const commandLine = encodeCommandLine(data.commandLine);
  if (data.modules.length > MODULE_LIMIT) {
    throw new PandoError(
      'BOOT_MODULES_TOO_MANY',
      `module list of ${data.modules.length} entries exceeds ${MODULE_LIMIT}`,
      { remedy: 'pass fewer modules; Linux uses only the first' },
    );
  }
  const memoryMap = buildMemoryMap(data.memoryBytes);
  if (memoryMap.length > MEMORY_MAP_LIMIT) {
    throw new PandoError(
      'MEMORY_MAP_TOO_LONG',
      `memory map of ${memoryMap.length} entries exceeds ${MEMORY_MAP_LIMIT}`,
      { remedy: 'use fewer, larger ranges' },
    );
  }
  const acpi = buildAcpiTables({
    address: ACPI_TABLES_ADDRESS,
    vcpus: data.vcpus,
    dsdtDevices: data.dsdtDevices ?? [],
  });

  writer.write(ENTRY_GDT_ADDRESS, entryGdt());
  writer.write(ENTRY_TSS_ADDRESS, new Uint8Array(ENTRY_TSS_BYTES));
  writer.write(
    START_INFO_ADDRESS,
    encodeStartInfo({
      moduleCount: data.modules.length,
      moduleListAddress: data.modules.length === 0 ? 0 : MODULE_LIST_ADDRESS,
      commandLineAddress: COMMAND_LINE_ADDRESS,
      rsdpAddress: acpi.rsdpAddress,
      memoryMapAddress: MEMORY_MAP_ADDRESS,
      memoryMapEntries: memoryMap.length,
    }),
  );
  writer.write(MODULE_LIST_ADDRESS, encodeModuleList(data.modules));
  writer.write(MEMORY_MAP_ADDRESS, encodeMemoryMap(memoryMap));
  writer.write(COMMAND_LINE_ADDRESS, commandLine);
  writer.write(ACPI_TABLES_ADDRESS, acpi.bytes);
  return START_INFO_ADDRESS;
}
