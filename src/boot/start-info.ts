/**
 * The structures that a PVH guest finds at its entry: hvm_start_info, module list, memory map.
 *
 * Source: Xen "x86/HVM direct boot ABI" (docs/misc/pvh) and xen/include/public/arch-x86/hvm/start_info.h,
 * version 1 of the structure. All fields are little-endian.
 */

export const HVM_START_MAGIC = 0x336ec578;
export const HVM_START_INFO_VERSION = 1;
export const HVM_START_INFO_BYTES = 56;
export const HVM_MODLIST_ENTRY_BYTES = 32;
export const HVM_MEMMAP_ENTRY_BYTES = 24;

/** Types of memory map entries (XEN_HVM_MEMMAP_TYPE_*, those of E820). */
export const MEMORY_TYPE = {
  ram: 1,
  reserved: 2,
  acpi: 3,
  nvs: 4,
  unusable: 5,
  disabled: 6,
  pmem: 7,
} as const;

/** A range of guest physical memory; bytes. */
export interface MemoryMapEntry {
  readonly address: number;
  readonly size: number;
  /** One of MEMORY_TYPE. */
  readonly type: number;
}

/** A file in memory for the guest; the first one is Linux's initrd. */
export interface BootModule {
  readonly address: number;
  readonly size: number;
  /** Address of the module's own command line; 0 for none. */
  readonly commandLineAddress?: number;
}

/** What hvm_start_info points at; addresses are guest physical, 0 for none. */
export interface StartInfo {
  readonly moduleCount: number;
  readonly moduleListAddress: number;
  readonly commandLineAddress: number;
  readonly rsdpAddress: number;
  readonly memoryMapAddress: number;
  readonly memoryMapEntries: number;
}

/** Encodes hvm_start_info. */
export function encodeStartInfo(info: StartInfo): Uint8Array {
  const bytes = new Uint8Array(HVM_START_INFO_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, HVM_START_MAGIC, true);
  view.setUint32(4, HVM_START_INFO_VERSION, true);
  view.setUint32(12, info.moduleCount, true);
  view.setBigUint64(16, BigInt(info.moduleListAddress), true);
  view.setBigUint64(24, BigInt(info.commandLineAddress), true);
  view.setBigUint64(32, BigInt(info.rsdpAddress), true);
  view.setBigUint64(40, BigInt(info.memoryMapAddress), true);
  view.setUint32(48, info.memoryMapEntries, true);
  return bytes;
}

/** Encodes an array of hvm_modlist_entry. */
export function encodeModuleList(modules: readonly BootModule[]): Uint8Array {
  const bytes = new Uint8Array(modules.length * HVM_MODLIST_ENTRY_BYTES);
  const view = new DataView(bytes.buffer);
  modules.forEach((module, index) => {
    const offset = index * HVM_MODLIST_ENTRY_BYTES;
    view.setBigUint64(offset, BigInt(module.address), true);
    view.setBigUint64(offset + 8, BigInt(module.size), true);
    view.setBigUint64(offset + 16, BigInt(module.commandLineAddress ?? 0), true);
  });
  return bytes;
}

/** Encodes an array of hvm_memmap_table_entry. */
export function encodeMemoryMap(entries: readonly MemoryMapEntry[]): Uint8Array {
  const bytes = new Uint8Array(entries.length * HVM_MEMMAP_ENTRY_BYTES);
  const view = new DataView(bytes.buffer);
  entries.forEach((entry, index) => {
    const offset = index * HVM_MEMMAP_ENTRY_BYTES;
    view.setBigUint64(offset, BigInt(entry.address), true);
    view.setBigUint64(offset + 8, BigInt(entry.size), true);
    view.setUint32(offset + 16, entry.type, true);
  });
  return bytes;
}
