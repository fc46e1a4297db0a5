/**
 * The decoder: bytes to operations, driven by the tables of isa/table.ts (Intel SDM vol. 2, chapter 2
 * "Instruction format").
 */
import {
  BLK_CODE, BLK_COUNT, BLK_FALL, BLK_FALLS, BLK_HEADER, BLK_HEAT, BLK_LENGTH, BLK_MODE, BLK_PHYS, BLK_TAKEN, BLK_WARM,
  CODE_SCRATCH, CROSSING_BLOCKS, CROSSING_CODE, CROSSING_ENTRIES, CROSSING_PHYS, CROSSING_SIZE, DEAD_BLOCK,
  DECODE_TABLES, EA_ADDR16, EA_ADDR32, EA_SEG_SHIFT, GUEST_BASE, LEN_LOCK, LEN_MEM, LEN_SIZE_SHIFT,
  MODE, MODE_CODE16, MODE_CODE64, MODE_CODE_MASK, MODE_STEP, REC_B, REC_DISP, REC_EA, REC_IMM, REC_LEN, REC_OFF,
  REC_OP, REC_R, REC_SIZE, REC_X, RIP, SEG_DS, SEG_ES, SEG_SS, SLOT_4G, SLOT_ZERO, TLB_SET,
} from "../layout";
import { BLOCK_MAX_OPERATIONS, codeWritten, enterBlock, reserveBlock } from "./blocks";
import { foreignWrites, unchangedSince } from "./foreign-writes";
import { raiseError, VEC_GP } from "./fault";
import { execPage, fetchPhys, isRam, NO_PAGE } from "./mmu";
import { FALL, MOV_CR, MOV_DR, MOV_RC, MOV_RD, NOP, UD, XCHG, XCHG_A } from "./ops";
import { WALK_FAULT } from "./walk";
import { charge, COST_DECODE } from "./work";

/* Table entries: see isa/table.ts. */
const ENTRY_MODRM: u32 = 1 << 1;
const ENTRY_SIZED: u32 = 1 << 14;
const ENTRY_ENDS: u32 = 1 << 15;
const ENTRY_LOCK: u32 = 1 << 16;
const ENTRY_SWAP: u32 = 1 << 17;
const ENTRY_OPCODE_REG: u32 = 1 << 18;
const ENTRY_GROUP: u32 = 1 << 19;
const ENTRY_PREFIX: u32 = 1 << 20;
const ENTRY_FORCE_REGISTER: u32 = 1 << 21;
const ENTRY_FIXED_A: u32 = 1 << 22;
const ENTRY_X87: u32 = 1 << 23;
const ENTRY_MAP: u32 = 1 << 24;
const TABLE_BYTES: u32 = 0x800;

const REX_W: u32 = 8;
const REX_R: u32 = 4;
const REX_X: u32 = 2;
const REX_B: u32 = 1;

/** Intel SDM vol. 2, 2.3.11: an instruction is at most 15 bytes. */
const LENGTH_LIMIT: u32 = 15;

/** Cursor into the code bytes, and where they end. Transient: valid during one decodeOne. */
let cursor: usize = 0;
let limit: usize = 0;
let overrun: bool = false;
/** Whether the operation just decoded ends its block. */
let endsBlock: bool = false;

// @ts-ignore: decorator
@inline
function byte(): u32 {
  if (cursor >= limit) {
    overrun = true;
    return 0;
  }
  return load<u8>(cursor++);
}

function word(): u32 {
  const low = byte();
  return low | (byte() << 8);
}

function dword(): u32 {
  if (cursor + 4 <= limit) {
    const value = load<u32>(cursor);
    cursor += 4;
    return value;
  }
  const low = word();
  return low | (word() << 16);
}

// @ts-ignore: decorator
@inline
function slot(kind: u32, number: u32, size: u32, rex: u32): u32 {
  if (kind == 0 && size == 0) kind = 1;
  if (kind == 1) return rex == 0 && number >= 4 && number < 8 ? (number - 4) * 8 + 1 : number * 8;
  return kind == 0 ? number * 8 : kind == 2 ? number * 16 : number;
}

/** Default operand sizes: rule of the row, mode, 66 prefix, REX.W → 0–3. */
function operandSize(rule: u32, long: bool, wide: bool, rexW: bool): u32 {
  switch (rule) {
    case 1: return 0;
    case 2: return rexW ? 3 : wide ? 2 : 1;
    case 3: return long ? (wide || rexW ? 3 : 1) : wide ? 2 : 1;
    case 4: return rexW ? 3 : 2;
    case 5: return 1;
    case 6: return 2;
    case 7: return 3;
    case 8: return long ? 3 : wide ? 2 : 1;
    default: return rexW ? 3 : 0;
  }
}

function memoryOperand32(rec: usize, mod: u32, rm: u32, rex: u32, long: bool): u32 {
  let base: u32 = SLOT_ZERO;
  let index: u32 = SLOT_ZERO;
  let scale: u32 = 0;
  let segment: u32 = SEG_DS;
  let relative = false;
  let disp: i32 = 0;
  if ((rm & 7) == 4) {
    const sib = byte();
    scale = sib >> 6;
    const indexNumber = ((sib >> 3) & 7) | (rex & REX_X ? 8 : 0);
    if (indexNumber != 4) index = indexNumber * 8;
    const baseNumber = sib & 7;
    if (baseNumber == 5 && mod == 0) disp = dword() as i32;
    else {
      base = (baseNumber | (rex & REX_B ? 8 : 0)) * 8;
      if (base == 32 || base == 40) segment = SEG_SS;
    }
  } else if ((rm & 7) == 5 && mod == 0) {
    disp = dword() as i32;
    relative = long;
  } else {
    base = rm * 8;
    if (base == 40) segment = SEG_SS;
  }
  if (mod == 1) disp = byte() as i8;
  else if (mod == 2) disp = dword() as i32;
  if (relative) base = RIP;
  store<u8>(rec, base as u8, REC_B);
  store<u8>(rec, index as u8, REC_X);
  store<u8>(rec, scale as u8, REC_EA);
  store<i32>(rec, disp, REC_DISP);
  return segment;
}

function memoryOperand16(rec: usize, mod: u32, rm: u32): u32 {
  let base: u32 = SLOT_ZERO;
  let index: u32 = SLOT_ZERO;
  let segment: u32 = SEG_DS;
  let disp: i32 = 0;
  switch (rm & 7) {
    case 0: base = 24; index = 48; break;
    case 1: base = 24; index = 56; break;
    case 2: base = 40; index = 48; segment = SEG_SS; break;
    case 3: base = 40; index = 56; segment = SEG_SS; break;
    case 4: base = 48; break;
    case 5: base = 56; break;
    case 6:
      if (mod == 0) disp = word() as i16;
      else {
        base = 40;
        segment = SEG_SS;
      }
      break;
    default: base = 24; break;
  }
  if (mod == 1) disp = byte() as i8;
  else if (mod == 2) disp = word() as i16;
  store<u8>(rec, base as u8, REC_B);
  store<u8>(rec, index as u8, REC_X);
  store<u8>(rec, 0, REC_EA);
  store<i32>(rec, disp, REC_DISP);
  return segment;
}

/**
 * Decodes one instruction of the bytes between `cursor` and `limit` into `rec`; `off` is its place in
 * the block. False when the bytes end before the instruction does.
 */
function decodeOne(rec: usize, off: u32, mode: u32): bool {
  const start = cursor;
  const code = mode & MODE_CODE_MASK;
  const long = code == MODE_CODE64;
  let rex: u32 = 0;
  let opsize = false;
  let addrsize = false;
  let lock = false;
  let repeat: u32 = 0;
  let segmentPrefix: u32 = 0;
  let opcode: u32 = 0;
  store<u64>(rec, 0);
  store<u64>(rec, 0, 8);
  while (true) {
    opcode = byte();
    if (overrun) return false;
    if (cursor - start > LENGTH_LIMIT) break;
    if (long && (opcode & 0xf0) == 0x40) {
      rex = opcode;
      opcode = byte();
      // A REX prefix counts only right before the opcode; another prefix after it cancels it.
      if (!isPrefix(opcode, long)) break;
      rex = 0;
      cursor--;
      continue;
    }
    if (opcode == 0x66) opsize = true;
    else if (opcode == 0x67) addrsize = true;
    else if (opcode == 0xf0) lock = true;
    else if (opcode == 0xf3) repeat = 1;
    else if (opcode == 0xf2) repeat = 2;
    else if (opcode == 0x26 || opcode == 0x2e || opcode == 0x36 || opcode == 0x3e) {
      // ES CS SS DS: slots 1–4 in that order; without effect in 64-bit code.
      if (!long) segmentPrefix = ((opcode - 0x26) >> 3) + SEG_ES;
    } else if (opcode == 0x64 || opcode == 0x65) segmentPrefix = opcode - 0x64 + 5;
    else break;
  }
  let table: usize = DECODE_TABLES + (long ? 0 : 2 * TABLE_BYTES);
  if (opcode == 0x0f) {
    opcode = byte();
    table += TABLE_BYTES;
  }
  let entry = table + opcode * 8;
  let modrm: u32 = 0;
  let hasModrm = false;
  let properties = load<u32>(entry, 4);
  while (properties & (ENTRY_GROUP | ENTRY_PREFIX | ENTRY_MAP)) {
    let select: u32;
    if (properties & ENTRY_MAP) select = byte();
    else if (properties & ENTRY_PREFIX) select = repeat == 1 ? 2 : repeat == 2 ? 3 : opsize ? 1 : 0;
    else {
      if (!hasModrm) {
        modrm = byte();
        hasModrm = true;
      }
      select = (modrm >> 3) & 7;
    }
    entry = DECODE_TABLES + load<u32>(entry) + select * 8;
    properties = load<u32>(entry, 4);
  }
  const wide = code == MODE_CODE16 ? opsize : !opsize;
  const size = operandSize((properties >> 10) & 15, long, wide, (rex & REX_W) != 0);
  const addressBits: u32 = long ? (addrsize ? EA_ADDR32 : 0) : (code == MODE_CODE16) == addrsize ? EA_ADDR32 : EA_ADDR16;
  let op: u32 = load<u16>(entry);
  let isMem = false;
  let segment: u32 = SEG_DS;
  store<u8>(rec, SLOT_ZERO as u8, REC_B);
  store<u8>(rec, SLOT_ZERO as u8, REC_X);
  if (properties & ENTRY_MODRM) {
    if (!hasModrm) modrm = byte();
    const mod: u32 = properties & ENTRY_FORCE_REGISTER ? 3 : modrm >> 6;
    const regNumber = ((modrm >> 3) & 7) | (rex & REX_R ? 8 : 0);
    const rmNumber = (modrm & 7) | (rex & REX_B ? 8 : 0);
    const regKind = (properties >> 6) & 3;
    const rmKind = (properties >> 8) & 3;
    let r = slot(regKind, regKind == 3 ? regNumber & (isControl(op) ? 15 : 7) : regNumber, size, rex);
    if (mod == 3) {
      let b = slot(rmKind, rmKind == 3 ? rmNumber & 7 : rmNumber, size, rex);
      if (properties & ENTRY_SWAP) {
        const swapped = r;
        r = b;
        b = swapped;
      }
      store<u8>(rec, b as u8, REC_B);
    } else {
      isMem = true;
      op = load<u16>(entry, 2);
      segment = addressBits & EA_ADDR16
        ? memoryOperand16(rec, mod, modrm & 7)
        : memoryOperand32(rec, mod, rmNumber, rex, long);
    }
    store<u8>(rec, r as u8, REC_R);
    if (properties & ENTRY_X87) {
      const low = opcode & 7;
      // The ModRM byte of a memory form goes along for the last-opcode register.
      store<i32>(rec, isMem ? (modrm << 8) | (low << 3) | ((modrm >> 3) & 7) : (low << 6) | (modrm & 63), REC_IMM);
    }
  } else if (properties & ENTRY_OPCODE_REG) {
    store<u8>(rec, slot(0, (opcode & 7) | (rex & REX_B ? 8 : 0), size, rex) as u8, REC_B);
  } else if (properties & ENTRY_FIXED_A) {
    store<u8>(rec, 0, REC_B);
  } else {
    store<u8>(rec, repeat as u8, REC_R);
  }
  const effective: u32 = segmentPrefix ? segmentPrefix : long ? 0 : segment;
  store<u8>(rec, (load<u8>(rec, REC_EA) | addressBits | (effective << EA_SEG_SHIFT)) as u8, REC_EA);
  immediate(rec, (properties >> 2) & 15, size, addressBits, long);
  if (overrun) return false;
  const length = (cursor - start) as u32;
  const end = off + length;
  if (properties == 0 || op == 0 || (lock && !(isMem && properties & ENTRY_LOCK))) {
    op = UD;
    properties = ENTRY_ENDS;
    isMem = false;
  } else if (properties & ENTRY_SIZED) op += size;
  if (isMem && load<u8>(rec, REC_B) == RIP) relativeAddress(rec, end);
  const immediateKind = (properties >> 2) & 15;
  if (immediateKind == 5 || immediateKind == 6) store<i32>(rec, load<i32>(rec, REC_IMM) + (end as i32), REC_IMM);
  // With memory it is locked of itself (SDM vol. 2, "XCHG").
  if (op == XCHG && isMem) lock = true;
  if (op == XCHG_A && load<u8>(rec, REC_B) == 0) op = NOP;
  store<u16>(rec, op as u16, REC_OP);
  store<u8>(rec, off as u8, REC_OFF);
  store<u8>(rec, ((length & 15) | (size << LEN_SIZE_SHIFT) | (isMem ? LEN_MEM : 0) | (lock ? LEN_LOCK : 0)) as u8, REC_LEN);
  endsBlock = (properties & ENTRY_ENDS) != 0;
  return true;
}

/** MOV to and from control registers reaches CR8 through REX.R; other plain numbers have three bits. */
function isControl(op: u32): bool {
  return op == MOV_RC || op == MOV_CR || op == MOV_RD || op == MOV_DR;
}

function isPrefix(opcode: u32, long: bool): bool {
  switch (opcode) {
    case 0x66: case 0x67: case 0xf0: case 0xf2: case 0xf3: case 0x26: case 0x2e: case 0x36: case 0x3e: case 0x64: case 0x65:
      return true;
    default:
      return long && (opcode & 0xf0) == 0x40;
  }
}

/** Makes the displacement of a RIP-relative address relative to the block's first byte. */
function relativeAddress(rec: usize, end: u32): void {
  const disp = load<i32>(rec, REC_DISP);
  const sum = (disp as i64) + (end as i64);
  store<i32>(rec, sum as i32, REC_DISP);
  if (sum > i32.MAX_VALUE) store<u8>(rec, SLOT_4G as u8, REC_X);
}

function immediate(rec: usize, kind: u32, size: u32, addressBits: u32, long: bool): void {
  switch (kind) {
    case 1: case 5: case 10:
      store<i32>(rec, (byte() as i8) as i32, REC_IMM);
      break;
    case 2:
      store<i32>(rec, word() as i32, REC_IMM);
      break;
    case 3: case 6:
      store<i32>(rec, size == 1 ? (word() as i16) as i32 : (dword() as i32), REC_IMM);
      break;
    case 4:
      if (size == 3) {
        store<u32>(rec, dword(), REC_DISP);
        store<u32>(rec, dword(), REC_IMM);
      } else store<i32>(rec, size == 1 ? (word() as i16) as i32 : (dword() as i32), REC_IMM);
      break;
    case 7:
      if (addressBits & EA_ADDR16) store<u32>(rec, word(), REC_DISP);
      else {
        store<u32>(rec, dword(), REC_DISP);
        if (long && !(addressBits & EA_ADDR32)) store<u32>(rec, dword(), REC_IMM);
      }
      break;
    case 8:
      store<u32>(rec, size == 1 ? word() : dword(), REC_DISP);
      store<u32>(rec, word(), REC_IMM);
      break;
    case 9: {
      const frame = word();
      store<u32>(rec, frame | (byte() << 16), REC_IMM);
      break;
    }
    default:
      break;
  }
}

/** Writes the operation that goes on to the next block. */
function fall(rec: usize, off: u32): void {
  store<u64>(rec, 0);
  store<u16>(rec, FALL as u16, REC_OP);
  store<u8>(rec, off as u8, REC_OFF);
}

function header(block: usize, phys: u32, mode: u32, falls: bool): void {
  store<u32>(block, phys, BLK_PHYS);
  store<u32>(block, mode, BLK_MODE);
  store<u32>(block, 0, BLK_TAKEN);
  store<u32>(block, 0, BLK_FALL);
  store<u32>(block, 0, BLK_CODE);
  store<u32>(block, 0, BLK_HEAT);
  store<u16>(block, 0, BLK_WARM);
  store<u16>(block, falls as u16, BLK_FALLS);
}

/**
 * Decodes the block at linear address `linear`, physical `phys`, and enters it in the cache; 0 when
 * the fetch faults (exception raised).
 */
export function decodeBlock(cpu: usize, linear: u64, phys: u64, mode: u32): usize {
  while (true) {
    const before = foreignWrites();
    const block = decodeOnce(cpu, linear, phys, mode);
    // A crossing instruction's bytes are compared each time.
    if (block == 0 || load<u32>(block, BLK_PHYS) == DEAD_BLOCK || unchangedSince(before)) return block;
    codeWritten(cpu, phys as u32, load<u16>(block, BLK_LENGTH));
  }
}

function decodeOnce(cpu: usize, linear: u64, phys: u64, mode: u32): usize {
  charge(cpu, COST_DECODE);
  if (!isRam(cpu, phys)) {
    // Nothing but RAM holds code here: bytes of no device decode to an instruction.
    raiseError(cpu, VEC_GP, 0);
    return 0;
  }
  const block = reserveBlock();
  const page: usize = GUEST_BASE + ((phys as usize) & ~0xfff);
  const start: usize = GUEST_BASE + (phys as usize);
  const most: u32 = mode & MODE_STEP ? 1 : BLOCK_MAX_OPERATIONS;
  let count: u32 = 0;
  let rec = block + BLK_HEADER;
  let off: u32 = 0;
  endsBlock = false;
  cursor = start;
  limit = page + 0x1000;
  while (count < most && off < 240 && start + off < limit && !endsBlock) {
    overrun = false;
    cursor = start + off;
    if (!decodeOne(rec, off, mode)) {
      if (count == 0) return decodeCrossing(cpu, linear, phys, mode);
      endsBlock = false;
      break;
    }
    const length = (cursor - start) as u32 - off;
    if (length > LENGTH_LIMIT) {
      if (count > 0) {
        endsBlock = false;
        break;
      }
      raiseError(cpu, VEC_GP, 0);
      return 0;
    }
    off += length;
    count++;
    rec += REC_SIZE;
  }
  if (!endsBlock) {
    fall(rec, off);
    rec += REC_SIZE;
  }
  header(block, phys as u32, mode, !endsBlock);
  store<u16>(block, count as u16, BLK_COUNT);
  store<u16>(block, off as u16, BLK_LENGTH);
  enterBlock(cpu, block, rec);
  return block;
}

/** Place of the block of the crossing instruction at `phys`. */
// @ts-ignore: decorator
@inline
function crossingEntry(cpu: usize, phys: u32): usize {
  return cpu + CROSSING_BLOCKS + ((phys >> 12) & (CROSSING_ENTRIES - 1)) * CROSSING_SIZE;
}

/** Puts the bytes of a crossing instruction together in CODE_SCRATCH; false when the second page's fetch faults. */
function fetchCrossing(cpu: usize, linear: u64, phys: u32): bool {
  const first = 0x1000 - (phys & 0xfff);
  const next = fetchPhys(cpu, linear + first);
  if (next == WALK_FAULT) return false;
  if (!isRam(cpu, next)) {
    raiseError(cpu, VEC_GP, 0);
    return false;
  }
  memory.copy(cpu + CODE_SCRATCH, GUEST_BASE + (phys as usize), first);
  memory.copy(cpu + CODE_SCRATCH + first, GUEST_BASE + (next as usize), 16);
  return true;
}

/**
 * The block of the instruction at `phys` that crosses a page, if it has been decoded and its bytes are
 * the same still, else 0: no store to the second page is noticed.
 */
export function knownCrossing(cpu: usize, linear: u64, phys: u32, mode: u32): usize {
  const block = crossingEntry(cpu, phys);
  if (load<u32>(block, CROSSING_PHYS) != phys || load<u32>(block, BLK_MODE) != mode || phys == 0) return 0;
  const first = 0x1000 - (phys & 0xfff);
  const next = execPage(cpu, load<u32>(cpu, TLB_SET), linear + first);
  if (next == NO_PAGE) return 0;
  const scratch = cpu + CODE_SCRATCH;
  memory.copy(scratch, GUEST_BASE + (phys as usize), first);
  store<v128>(scratch + first, load<v128>(GUEST_BASE + (next as usize)));
  const same = v128.eq<u8>(load<v128>(scratch), load<v128>(block, CROSSING_CODE));
  return v128.all_true<u8>(same) ? block : 0;
}

/** Decodes the instruction at RIP in 64-bit code into `rec`, outside of any block; false when it cannot be read any more. */
export function decodeFaulting(cpu: usize, rec: usize): bool {
  const rip = load<u64>(cpu, RIP);
  const set = load<u32>(cpu, TLB_SET);
  const page = execPage(cpu, set, rip & ~0xfff);
  if (page == NO_PAGE) return false;
  const scratch = cpu + CODE_SCRATCH;
  const offset = (rip as u32) & 0xfff;
  const first: u32 = 0x1000 - offset;
  cursor = GUEST_BASE + page + offset;
  limit = GUEST_BASE + page + 0x1000;
  if (first < LENGTH_LIMIT) {
    const next = execPage(cpu, set, (rip & ~0xfff) + 0x1000);
    memory.copy(scratch, cursor, first);
    cursor = scratch;
    limit = scratch + first;
    if (next != NO_PAGE) {
      store<v128>(limit, load<v128>(GUEST_BASE + (next as usize)));
      limit += 16;
    }
  }
  overrun = false;
  return decodeOne(rec, 0, load<u32>(cpu, MODE));
}

/** Decodes one instruction whose bytes lie in two pages. */
function decodeCrossing(cpu: usize, linear: u64, phys: u64, mode: u32): usize {
  if (!fetchCrossing(cpu, linear, phys as u32)) return 0;
  const scratch = cpu + CODE_SCRATCH;
  const block = crossingEntry(cpu, phys as u32);
  const rec = block + BLK_HEADER;
  store<u32>(block, 0, CROSSING_PHYS);
  cursor = scratch;
  limit = scratch + 0x1000 - ((phys as u32) & 0xfff) + 16;
  overrun = false;
  const decoded = decodeOne(rec, 0, mode);
  const length = (cursor - scratch) as u32;
  if (!decoded || length > LENGTH_LIMIT) {
    raiseError(cpu, VEC_GP, 0);
    return 0;
  }
  if (!endsBlock) fall(rec + REC_SIZE, length);
  header(block, DEAD_BLOCK, mode, !endsBlock);
  store<u16>(block, 1, BLK_COUNT);
  store<u16>(block, length as u16, BLK_LENGTH);
  store<u32>(block, phys as u32, CROSSING_PHYS);
  store<v128>(block, load<v128>(scratch), CROSSING_CODE);
  return block;
}
