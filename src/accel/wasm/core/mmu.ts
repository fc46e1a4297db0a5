/**
 * Guest memory as instructions see it: software TLBs in front of the page walk (walk.ts).
 *
 * A TLB set serves one privilege (supervisor, user) and holds one TLB per access kind, so a hit needs
 * no permission check. An entry's tag is the page's linear address; comparing it with the address of
 * the access's last byte, page offset cleared, makes an access that crosses a page miss. A page of
 * device memory is never entered, a page that holds decoded code never in a write TLB: both take the
 * slow path each time. So does every access of a user whose accesses have to be aligned.
 *
 * A pointer returned here is 0 after a fault, else valid until the next guest memory access. It points
 * into guest RAM or, for device memory and for accesses that cross a page, at BOUNCE.
 */
import {
  BOUNCE, COMMIT_ADDRESS, COMMIT_SIZE, CR0, DR7, EFER, EXC_ADDRESS, FLAGS, GUEST_BASE, HOST_VALUE, LARGE_HIGH, LARGE_LOW, MODE,
  MODE_CODE64, MODE_CODE_MASK, PAGE_CODE, PAGE_CODE_ENTRY, RAM_PAGES, TLB_BYTES, TLB_ENTRIES, TLB_EXEC, TLB_EXEC_SECOND,
  TLB_READ, TLB_SET, TLB_SUPERVISOR, TLB_USER, TLB_WRITE, VICTIMS, VICTIMS_BYTES,
} from "../layout";
import { codeWritten } from "./blocks";
import { watchData } from "./debug";
import { raiseError, VEC_AC, VEC_GP } from "./fault";
import { AC } from "./flags";
import { hostMmioRead, hostMmioWrite } from "./host";
import { barrier } from "./order";
import { admitted, isMarked } from "./segment-check";
import { forgetPage, forgetWritable, putAside, recall } from "./victims";
import { ACCESS_EXEC, ACCESS_READ, ACCESS_WRITE, WALK_FAULT, walk, walkGlobal, walkLarge } from "./walk";
import { charge, COST_DEVICE, COST_PAGE_WALK, COST_TLB_FLUSH } from "./work";

const CR0_AM: u64 = 0x40000;

/** No page of RAM; no address in it is DEAD_BLOCK. */
export const NO_PAGE: u32 = 0xffffe000;

/** Information word of a TLB entry. */
const TLB_GLOBAL: u32 = 1;

// @ts-ignore: decorator
@inline
function entryOf(cpu: usize, set: u32, va: u64): usize {
  return cpu + set + ((((va as u32) >> 12) & (TLB_ENTRIES - 1)) << 4);
}

/**
 * The first way of the exec TLB's entry for `va` in a set, less TLB_EXEC. Programs of some megabytes alternate between pages
 * that are 1 MiB apart; data has the plain index and one way, because translated code computes it at each access.
 */
// @ts-ignore: decorator
@inline
function execSlot(va: u64): usize {
  const page = (va >> 12) as u32;
  return ((page ^ (page >> 8)) & (TLB_ENTRIES - 1)) << 4;
}

/** Guest physical address of the code page at linear address `page`, if the exec TLB of `set` has it, else NO_PAGE. */
// @ts-ignore: decorator
@inline
export function execPage(cpu: usize, set: u32, page: u64): u32 {
  const slot = cpu + set + execSlot(page);
  if (load<u64>(slot, TLB_EXEC) == page) return load<u32>(slot, TLB_EXEC + 8);
  if (load<u64>(slot, TLB_EXEC_SECOND) == page) return load<u32>(slot, TLB_EXEC_SECOND + 8);
  return NO_PAGE;
}

/** Pointer to read `sizeof<T>() bytes at `va` with the privilege of TLB set `set`; 0 after a fault. */
// @ts-ignore: decorator
@inline
export function readPtr<T>(cpu: usize, set: u32, va: u64): usize {
  const entry = entryOf(cpu, set, va);
  if (load<u64>(entry, TLB_READ) == ((va + (sizeof<T>() - 1)) & ~0xfff)) {
    return ((va as u32) + load<u32>(entry, TLB_READ + 8)) as usize;
  }
  return readSlow(cpu, set, va, sizeof<T>());
}

/**
 * Pointer to read and write `sizeof<T>()` bytes at `va`; 0 after a fault. When it is BOUNCE, the
 * caller writes there and then calls `commit`.
 */
// @ts-ignore: decorator
@inline
export function modifyPtr<T>(cpu: usize, set: u32, va: u64): usize {
  const entry = entryOf(cpu, set, va);
  if (load<u64>(entry, TLB_WRITE) == ((va + (sizeof<T>() - 1)) & ~0xfff)) {
    return ((va as u32) + load<u32>(entry, TLB_WRITE + 8)) as usize;
  }
  return modifySlow(cpu, set, va, sizeof<T>());
}

/** Stores `value` at `va`; false after a fault, with nothing written. */
// @ts-ignore: decorator
@inline
export function storeTo<T>(cpu: usize, set: u32, va: u64, value: T): bool {
  const entry = entryOf(cpu, set, va);
  if (load<u64>(entry, TLB_WRITE) == ((va + (sizeof<T>() - 1)) & ~0xfff)) {
    store<T>(((va as u32) + load<u32>(entry, TLB_WRITE + 8)) as usize, value);
    return true;
  }
  return storeSlow(cpu, set, va, value as u64, sizeof<T>());
}

/** Finishes a modification whose pointer was `ptr`. */
// @ts-ignore: decorator
@inline
export function finish(cpu: usize, ptr: usize): void {
  if (ptr == cpu + BOUNCE) commit(cpu);
}

/** Whether `va` is canonical. Raises #GP(0) when not, and keeps the address of a data access. */
function legal(cpu: usize, va: u64, access: u32): bool {
  if ((((va as i64) << 16) >> 16) == (va as i64)) return true;
  raiseError(cpu, VEC_GP, 0);
  if (access != ACCESS_EXEC) store<u64>(cpu, va, EXC_ADDRESS);
  return false;
}

/** Whether guest physical `pa` is RAM. */
// @ts-ignore: decorator
@inline
export function isRam(cpu: usize, pa: u64): bool {
  return pa >> 12 < (load<u32>(cpu, RAM_PAGES) as u64);
}

// @ts-ignore: decorator
@inline
function pageBitmap(pa: u32): usize {
  return PAGE_CODE + (pa >> 12) * PAGE_CODE_ENTRY;
}

/** Whether accesses with the privilege of `set` must be aligned (SDM vol. 3, 6.15, interrupt 17). */
// @ts-ignore: decorator
@inline
function alignmentChecked(cpu: usize, set: u32): bool {
  return (load<u32>(cpu, FLAGS) & AC) != 0 && set == TLB_USER && (load<u64>(cpu, CR0) & CR0_AM) != 0;
}

/** Whether an access is refused for its alignment: #AC(0). 16-byte accesses have rules of their own. */
function misaligned(cpu: usize, set: u32, va: u64, size: u32): bool {
  if (!alignmentChecked(cpu, set)) return false;
  const mask: u32 = size == 10 ? 7 : size == 2 || size == 4 || size == 8 ? size - 1 : 0;
  if (!((va as u32) & mask)) return false;
  raiseError(cpu, VEC_AC, 0);
  return true;
}

/** Translates, fills the TLB, and gives the physical address, or WALK_FAULT with the exception raised. */
function translate(cpu: usize, set: u32, va: u64, access: u32): u64 {
  if (access != ACCESS_EXEC) {
    const write = access == ACCESS_WRITE;
    const known = entryOf(cpu, set, va) + (write ? TLB_WRITE : TLB_READ);
    const page = va & ~0xfff;
    if (load<u64>(known) == page || recall(cpu, set, page, known, write)) {
      return (((va as u32) + load<u32>(known, 8)) as u64) - GUEST_BASE;
    }
  }
  if (!legal(cpu, va, access)) return WALK_FAULT;
  charge(cpu, COST_PAGE_WALK);
  const pa = walk(cpu, va, access, set == TLB_USER);
  if (pa == WALK_FAULT || !isRam(cpu, pa)) return pa;
  if (access != ACCESS_EXEC && (load<u32>(cpu, DR7) & 0xff || alignmentChecked(cpu, set))) return pa;
  const entry = entryOf(cpu, set, va);
  const page = va & ~0xfff;
  const physPage = (pa as u32) & ~0xfff;
  const addend = (GUEST_BASE + physPage) - (page as u32);
  const info = walkGlobal ? TLB_GLOBAL : 0;
  if (walkLarge) {
    const size = walkLarge;
    const low = va & ~(size - 1);
    if (low < load<u64>(cpu, LARGE_LOW)) store<u64>(cpu, low, LARGE_LOW);
    if (low + (size - 1) > load<u64>(cpu, LARGE_HIGH)) store<u64>(cpu, low + (size - 1), LARGE_HIGH);
  }
  if (access == ACCESS_EXEC) {
    const code = cpu + set + execSlot(va);
    store<v128>(code, load<v128>(code, TLB_EXEC), TLB_EXEC_SECOND);
    store<u64>(code, page, TLB_EXEC);
    store<u32>(code, physPage, TLB_EXEC + 8);
    store<u32>(code, info, TLB_EXEC + 12);
    return pa;
  }
  if (access == ACCESS_WRITE && load<u32>(pageBitmap(pa as u32)) == 0) {
    if (load<u64>(entry, TLB_WRITE) != page) putAside(cpu, set, entry + TLB_WRITE, true);
    store<u64>(entry, page, TLB_WRITE);
    store<u32>(entry, addend, TLB_WRITE + 8);
    store<u32>(entry, info, TLB_WRITE + 12);
  }
  if (load<u64>(entry, TLB_READ) != page) putAside(cpu, set, entry + TLB_READ, false);
  store<u64>(entry, page, TLB_READ);
  store<u32>(entry, addend, TLB_READ + 8);
  store<u32>(entry, info, TLB_READ + 12);
  return pa;
}

/** Guest physical address of code at `rip`, or WALK_FAULT with the exception raised. */
export function fetchPhys(cpu: usize, rip: u64): u64 {
  const set = load<u32>(cpu, TLB_SET);
  const page = execPage(cpu, set, rip & ~0xfff);
  if (page != NO_PAGE) return (page | ((rip as u32) & 0xfff)) as u64;
  return translate(cpu, set, rip, ACCESS_EXEC);
}

/** Copies `size` bytes of physical memory (RAM or device) to `to`. Within one page. */
function readPhysical(cpu: usize, pa: u64, to: usize, size: u32): void {
  if (isRam(cpu, pa)) {
    memory.copy(to, GUEST_BASE + (pa as usize), size);
    return;
  }
  let done: u32 = 0;
  while (done < size) {
    const at = pa + done;
    const left = size - done;
    const step: u32 = left >= 4 && (at & 3) == 0 ? 4 : left >= 2 && (at & 1) == 0 ? 2 : 1;
    charge(cpu, COST_DEVICE);
    const value = hostMmioRead(at as u32, (at >> 32) as u32, step);
    if (step == 4) store<u32>(to + done, value);
    else if (step == 2) store<u16>(to + done, value as u16);
    else store<u8>(to + done, value as u8);
    done += step;
  }
}

/** Copies `size` bytes from `from` to physical memory, code pages included. Within one page. */
function writePhysical(cpu: usize, pa: u64, from: usize, size: u32): void {
  if (isRam(cpu, pa)) {
    memory.copy(GUEST_BASE + (pa as usize), from, size);
    if (load<u32>(pageBitmap(pa as u32))) codeWritten(cpu, pa as u32, size);
    return;
  }
  let done: u32 = 0;
  while (done < size) {
    const at = pa + done;
    const left = size - done;
    const step: u32 = left >= 4 && (at & 3) == 0 ? 4 : left >= 2 && (at & 1) == 0 ? 2 : 1;
    const value: u32 = step == 4 ? load<u32>(from + done) : step == 2 ? load<u16>(from + done) : load<u8>(from + done);
    charge(cpu, COST_DEVICE);
    hostMmioWrite(at as u32, (at >> 32) as u32, step, value);
    done += step;
  }
}

/** Bytes of an access that lie in its first page. */
// @ts-ignore: decorator
@inline
function inFirstPage(va: u64, size: u32): u32 {
  const room: u32 = 0x1000 - ((va as u32) & 0xfff);
  return room < size ? room : size;
}

/** In 32-bit modes linear addresses wrap at 4 GiB. */
function wrap(cpu: usize, va: u64): u64 {
  return (load<u32>(cpu, MODE) & MODE_CODE_MASK) == MODE_CODE64 || load<u64>(cpu, EFER) & 0x400
    ? va
    : va & 0xffffffff;
}

/** `va` without a segment's mark, if the segment admits the access; else WALK_FAULT, with the exception raised. */
// @ts-ignore: decorator
@inline
function checked(cpu: usize, va: u64, size: u32, write: bool): u64 {
  if (!isMarked(cpu, va)) return va;
  return admitted(cpu, va, size, write) ? va & 0xffffffff : WALK_FAULT;
}

export function readSlow(cpu: usize, set: u32, address: u64, size: u32): usize {
  const va = checked(cpu, address, size, false);
  if (va == WALK_FAULT) return 0;
  const first = inFirstPage(va, size);
  const pa = translate(cpu, set, va, ACCESS_READ);
  if (pa == WALK_FAULT || misaligned(cpu, set, va, size)) return 0;
  watchData(cpu, va, size, false);
  if (first == size && isRam(cpu, pa)) return GUEST_BASE + (pa as usize);
  const bounce = cpu + BOUNCE;
  if (first < size) {
    const second = translate(cpu, set, wrap(cpu, va + first), ACCESS_READ);
    if (second == WALK_FAULT) return 0;
    readPhysical(cpu, second, bounce + first, size - first);
  }
  readPhysical(cpu, pa, bounce, first);
  return bounce;
}

export function modifySlow(cpu: usize, set: u32, address: u64, size: u32): usize {
  const va = checked(cpu, address, size, true);
  if (va == WALK_FAULT) return 0;
  const first = inFirstPage(va, size);
  const pa = translate(cpu, set, va, ACCESS_WRITE);
  if (pa == WALK_FAULT || misaligned(cpu, set, va, size)) return 0;
  watchData(cpu, va, size, true);
  if (first == size && isRam(cpu, pa) && load<u32>(pageBitmap(pa as u32)) == 0) return GUEST_BASE + (pa as usize);
  const bounce = cpu + BOUNCE;
  if (first < size) {
    const second = translate(cpu, set, wrap(cpu, va + first), ACCESS_WRITE);
    if (second == WALK_FAULT) return 0;
    readPhysical(cpu, second, bounce + first, size - first);
  }
  readPhysical(cpu, pa, bounce, first);
  store<u64>(cpu, va, COMMIT_ADDRESS);
  store<u32>(cpu, size | (set == TLB_USER ? 0x100 : 0), COMMIT_SIZE);
  return bounce;
}

/** Writes BOUNCE back to where `modifySlow` read it from, in order: the operation may have been a locked one. */
export function commit(cpu: usize): void {
  const packed = load<u32>(cpu, COMMIT_SIZE);
  const set: u32 = packed & 0x100 ? TLB_USER : TLB_SUPERVISOR;
  writeBounce(cpu, set, load<u64>(cpu, COMMIT_ADDRESS), packed & 0xff);
  barrier(cpu);
}

/** Writes `size` bytes of BOUNCE at `va`; false after a fault, with nothing written. */
function writeBounce(cpu: usize, set: u32, va: u64, size: u32): bool {
  const first = inFirstPage(va, size);
  const pa = translate(cpu, set, va, ACCESS_WRITE);
  if (pa == WALK_FAULT || misaligned(cpu, set, va, size)) return false;
  if (first < size) {
    const second = translate(cpu, set, wrap(cpu, va + first), ACCESS_WRITE);
    if (second == WALK_FAULT) return false;
    writePhysical(cpu, second, cpu + BOUNCE + first, size - first);
  }
  writePhysical(cpu, pa, cpu + BOUNCE, first);
  return true;
}

export function storeSlow(cpu: usize, set: u32, address: u64, value: u64, size: u32): bool {
  const va = checked(cpu, address, size, true);
  store<u64>(cpu, value, BOUNCE);
  if (va == WALK_FAULT || !writeBounce(cpu, set, va, size)) return false;
  watchData(cpu, va, size, true);
  return true;
}

/** Stores 16 bytes at `va` from `from`; false after a fault, with nothing written. */
export function storeBytes(cpu: usize, set: u32, address: u64, from: usize, size: u32): bool {
  const va = checked(cpu, address, size, true);
  memory.copy(cpu + BOUNCE, from, size);
  if (va == WALK_FAULT || !writeBounce(cpu, set, va, size)) return false;
  watchData(cpu, va, size, true);
  return true;
}

/** Whether `size` bytes at `va` can be written; raises the fault when not. At most one page boundary. */
export function probeWrite(cpu: usize, set: u32, address: u64, size: u32): bool {
  const va = checked(cpu, address, size, true);
  if (va == WALK_FAULT || translate(cpu, set, va, ACCESS_WRITE) == WALK_FAULT) return false;
  const first = inFirstPage(va, size);
  return first == size || translate(cpu, set, wrap(cpu, va + first), ACCESS_WRITE) != WALK_FAULT;
}

/** Forgets every translation; `keepGlobal` spares pages with the G bit. */
export function flushTlb(cpu: usize, keepGlobal: bool): void {
  charge(cpu, COST_TLB_FLUSH);
  if (!keepGlobal) {
    memory.fill(cpu + TLB_SUPERVISOR, 0xff, 3 * TLB_BYTES);
    memory.fill(cpu + TLB_SUPERVISOR + TLB_EXEC_SECOND, 0xff, TLB_BYTES);
    flushUserTlb(cpu);
    store<u64>(cpu, u64.MAX_VALUE, LARGE_LOW);
    store<u64>(cpu, 0, LARGE_HIGH);
    return;
  }
  flushLocal(cpu + TLB_SUPERVISOR, 6 * TLB_BYTES);
  flushLocal(cpu + TLB_SUPERVISOR + TLB_EXEC_SECOND, TLB_BYTES);
  flushLocal(cpu + TLB_USER + TLB_EXEC_SECOND, TLB_BYTES);
  flushLocal(cpu + VICTIMS, VICTIMS_BYTES);
}

/** Forgets the entries of pages without the G bit. */
function flushLocal(entries: usize, bytes: usize): void {
  for (let entry = entries, end = entries + bytes; entry < end; entry += 16) {
    if (!(load<u32>(entry, 12) & TLB_GLOBAL)) store<u64>(entry, u64.MAX_VALUE);
  }
}

/** Forgets the user's translations, and all that were put aside. */
export function flushUserTlb(cpu: usize): void {
  memory.fill(cpu + TLB_USER, 0xff, 3 * TLB_BYTES);
  memory.fill(cpu + TLB_USER + TLB_EXEC_SECOND, 0xff, TLB_BYTES);
  memory.fill(cpu + VICTIMS, 0xff, VICTIMS_BYTES);
}

/** INVLPG: forgets the translation of one page; of all when it may be part of a large page. */
export function flushPage(cpu: usize, va: u64): void {
  if (va >= load<u64>(cpu, LARGE_LOW) && va <= load<u64>(cpu, LARGE_HIGH)) {
    flushTlb(cpu, false);
    return;
  }
  forgetPage(cpu, va & ~0xfff);
  const offset: usize = (((va as u32) >> 12) & (TLB_ENTRIES - 1)) << 4;
  for (let i = 0; i < 2; i++) {
    const set = cpu + (i ? TLB_USER : TLB_SUPERVISOR);
    store<u64>(set + TLB_READ + offset, u64.MAX_VALUE);
    store<u64>(set + TLB_WRITE + offset, u64.MAX_VALUE);
    store<u64>(set + execSlot(va), u64.MAX_VALUE, TLB_EXEC);
    store<u64>(set + execSlot(va), u64.MAX_VALUE, TLB_EXEC_SECOND);
  }
}

/** Takes physical page `pa` out of the write TLBs, because code has been decoded from it. */
export function protectCode(cpu: usize, pa: u32): void {
  const target = GUEST_BASE + (pa & ~0xfff);
  forgetWritable(cpu, target);
  for (let set: u32 = 0; set < 2; set++) {
    const base = cpu + (set ? TLB_USER : TLB_SUPERVISOR) + TLB_WRITE;
    for (let entry = base, end = base + TLB_BYTES; entry < end; entry += 16) {
      if ((load<u32>(entry) + load<u32>(entry, 8)) == target) store<u64>(entry, u64.MAX_VALUE);
    }
  }
}

/** The slow paths as translated code calls them, with the current privilege. */
export function readMiss(cpu: usize, va: u64, size: u32): usize {
  return readSlow(cpu, load<u32>(cpu, TLB_SET), va, size);
}

export function modifyMiss(cpu: usize, va: u64, size: u32): usize {
  return modifySlow(cpu, load<u32>(cpu, TLB_SET), va, size);
}

export function storeMiss(cpu: usize, va: u64, value: u64, size: u32): bool {
  return storeSlow(cpu, load<u32>(cpu, TLB_SET), va, value, size);
}
