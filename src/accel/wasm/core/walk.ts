/**
 * The page walk (Intel SDM vol. 3, chapter 4): no paging, 32-bit, PAE and four-level paging, with
 * NX, WP, accessed and dirty bits, reserved bits and the page-fault error code (4.7).
 */
import { CR0, CR2, CR3, CR4, EFER, GUEST_BASE, RAM_PAGES } from "../layout";
import { raiseError, VEC_PF } from "./fault";

export const ACCESS_READ: u32 = 0;
export const ACCESS_WRITE: u32 = 1;
export const ACCESS_EXEC: u32 = 2;

/** Not a physical address: the walk has raised #PF. */
export const WALK_FAULT: u64 = u64.MAX_VALUE;

/** Of the last successful walk: whether the page is global; its size in bytes when above 4 KiB, else 0. */
export let walkGlobal: bool = false;
export let walkLarge: u64 = 0;

const P: u64 = 1;
const RW: u64 = 2;
const US: u64 = 4;
const A: u64 = 0x20;
const D: u64 = 0x40;
const PS: u64 = 0x80;
const G: u64 = 0x100;
const NX: u64 = 0x8000000000000000;
const ADDRESS: u64 = 0x000ffffffffff000;

const CR0_PG: u64 = 0x80000000;
const CR0_WP: u64 = 0x10000;
const CR4_PSE: u64 = 0x10;
const CR4_PAE: u64 = 0x20;
const CR4_PGE: u64 = 0x80;
const EFER_NXE: u64 = 0x800;
const EFER_LMA: u64 = 0x400;

/** MAXPHYADDR, as CPUID 0x80000008 says; bits from here to 51 are reserved. */
const PHYSICAL_BITS: u32 = 40;
const RESERVED_HIGH: u64 = ADDRESS & ~((1 << PHYSICAL_BITS) - 1);

function pageFault(cpu: usize, va: u64, access: u32, user: bool, present: u32, reserved: u32): u64 {
  let error: u32 = present | (access == ACCESS_WRITE ? 2 : 0) | (user ? 4 : 0) | (reserved ? 8 : 0);
  // The I/D bit is reported only where instruction fetches can be refused (SDM vol. 3, 4.7).
  if (access == ACCESS_EXEC && load<u64>(cpu, EFER) & EFER_NXE && load<u64>(cpu, CR4) & CR4_PAE) error |= 16;
  store<u64>(cpu, va, CR2);
  raiseError(cpu, VEC_PF, error);
  return WALK_FAULT;
}

/** Pointer to a paging-structure entry, or 0 outside RAM (such an entry reads as not present). */
// @ts-ignore: decorator
@inline
function entryPtr(cpu: usize, pa: u64): usize {
  return pa >> 12 < (load<u32>(cpu, RAM_PAGES) as u64) ? GUEST_BASE + (pa as usize) : 0;
}

/**
 * Translates linear `va` for an access; sets the accessed and dirty bits. WALK_FAULT after #PF.
 * `user` says whether the access counts as a user-mode access.
 */
export function walk(cpu: usize, va: u64, access: u32, user: bool): u64 {
  if (!(load<u64>(cpu, CR0) & CR0_PG)) {
    walkGlobal = false;
    walkLarge = 0;
    return va & 0xffffffff;
  }
  if (!(load<u64>(cpu, CR4) & CR4_PAE)) return walk32(cpu, va, access, user);
  const long = (load<u64>(cpu, EFER) & EFER_LMA) != 0;
  const nxe = (load<u64>(cpu, EFER) & EFER_NXE) != 0;
  let table = load<u64>(cpu, CR3) & (long ? ADDRESS : 0xffffffe0);
  let level: u32 = long ? 4 : 3;
  let allowed: u64 = RW | US;
  let noExecute: u64 = 0;
  let entry: u64;
  let ptr: usize;
  while (true) {
    const shift = 3 + 9 * level;
    const index = (va >> shift) & (level == 3 && !long ? 3 : 511);
    ptr = entryPtr(cpu, table + index * 8);
    entry = ptr ? load<u64>(ptr) : 0;
    if (!(entry & P)) return pageFault(cpu, va, access, user, 0, 0);
    const large = (entry & PS) != 0 && (level == 2 || (level == 3 && long));
    let reserved = RESERVED_HIGH | (nxe ? 0 : NX);
    if (level == 4) reserved |= PS;
    if (level == 3 && !long) reserved |= 0x1e6 | NX;
    if (large) reserved |= level == 2 ? 0x1fe000 : 0x3fffe000;
    if (entry & reserved) return pageFault(cpu, va, access, user, 1, 1);
    if (level == 3 && !long) {
      table = entry & ADDRESS;
      level = 2;
      continue;
    }
    allowed &= entry;
    noExecute |= entry & NX;
    if (level == 1 || large) break;
    if (!(entry & A)) store<u64>(ptr, entry | A);
    table = entry & ADDRESS;
    level--;
  }
  if (!permitted(cpu, access, user, allowed, noExecute)) return pageFault(cpu, va, access, user, 1, 0);
  const marks: u64 = access == ACCESS_WRITE ? A | D : A;
  if ((entry & marks) != marks) store<u64>(ptr, entry | marks);
  walkGlobal = (entry & G) != 0 && (load<u64>(cpu, CR4) & CR4_PGE) != 0;
  walkLarge = level == 1 ? 0 : level == 2 ? 0x200000 : 0x40000000;
  const mask: u64 = level == 1 ? 0xfff : walkLarge - 1;
  return (entry & ADDRESS & ~mask) | (va & mask);
}

/** SDM vol. 3, 4.6.1. `allowed` is the conjunction of R/W and U/S over all levels. */
function permitted(cpu: usize, access: u32, user: bool, allowed: u64, noExecute: u64): bool {
  if (user && !(allowed & US)) return false;
  if (access == ACCESS_EXEC) return noExecute == 0;
  if (access == ACCESS_WRITE && !(allowed & RW)) return !user && !(load<u64>(cpu, CR0) & CR0_WP);
  return true;
}

function walk32(cpu: usize, va: u64, access: u32, user: bool): u64 {
  const directory = entryPtr(cpu, (load<u64>(cpu, CR3) & 0xfffff000) + ((va >> 22) & 0x3ff) * 4);
  const pde: u32 = directory ? load<u32>(directory) : 0;
  if (!(pde & (P as u32))) return pageFault(cpu, va, access, user, 0, 0);
  let allowed: u64 = (pde as u64) & (RW | US);
  const marks: u32 = (access == ACCESS_WRITE ? A | D : A) as u32;
  if (pde & (PS as u32) && load<u64>(cpu, CR4) & CR4_PSE) {
    // PSE-36: bits 13–20 are address bits 32–39; bit 21 is reserved (SDM vol. 3, table 4-4).
    if (pde & 0x200000) return pageFault(cpu, va, access, user, 1, 1);
    if (!permitted(cpu, access, user, allowed, 0)) return pageFault(cpu, va, access, user, 1, 0);
    if ((pde & marks) != marks) store<u32>(directory, pde | marks);
    walkGlobal = (pde & (G as u32)) != 0 && (load<u64>(cpu, CR4) & CR4_PGE) != 0;
    walkLarge = 0x400000;
    return (((pde >> 13) & 0xff) as u64) << 32 | ((pde & 0xffc00000) as u64) | (va & 0x3fffff);
  }
  const table = entryPtr(cpu, ((pde & 0xfffff000) as u64) + ((va >> 12) & 0x3ff) * 4);
  const pte: u32 = table ? load<u32>(table) : 0;
  if (!(pte & (P as u32))) return pageFault(cpu, va, access, user, 0, 0);
  allowed &= pte as u64;
  if (!permitted(cpu, access, user, allowed, 0)) return pageFault(cpu, va, access, user, 1, 0);
  if (!(pde & (A as u32))) store<u32>(directory, pde | (A as u32));
  if ((pte & marks) != marks) store<u32>(table, pte | marks);
  walkGlobal = (pte & (G as u32)) != 0 && (load<u64>(cpu, CR4) & CR4_PGE) != 0;
  walkLarge = 0;
  return ((pte & 0xfffff000) as u64) | (va & 0xfff);
}
