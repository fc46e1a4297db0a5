/** Integer instructions of later extensions: MOVBE, ADCX and ADOX (Intel SDM vol. 2). */
import { REC_R, ST_FAULT, ST_NEXT } from "../layout";
import { faulted } from "./fault";
import { arithmetic, setSome } from "./flags";
import { readReg, readRm, sizeOf, writeReg, writeRm } from "./operand";

/** The low bytes of an operand of `size` in reverse. */
// @ts-ignore: decorator
@inline
function reversed(value: u64, size: u32): u64 {
  return bswap<u64>(value) >> (64 - (8 << size));
}

/** MOVBE r, m. */
export function loadReversed(cpu: usize, rec: usize): u32 {
  const size = sizeOf(rec);
  const value = readRm(cpu, rec, size);
  if (faulted(cpu)) return ST_FAULT;
  writeReg(cpu, load<u8>(rec, REC_R), size, reversed(value, size));
  return ST_NEXT;
}

/** MOVBE m, r. */
export function storeReversed(cpu: usize, rec: usize): u32 {
  const size = sizeOf(rec);
  return writeRm(cpu, rec, size, reversed(readReg(cpu, load<u8>(rec, REC_R), size), size)) ? ST_NEXT : ST_FAULT;
}

/** ADCX and ADOX: a sum with CF or OF, `flag`, as the carry in and out; the other flags stay. */
export function addWithFlag(cpu: usize, rec: usize, flag: u32): u32 {
  const size = sizeOf(rec);
  const b = readRm(cpu, rec, size);
  if (faulted(cpu)) return ST_FAULT;
  const to: u32 = load<u8>(rec, REC_R);
  const carry: u64 = arithmetic(cpu) & flag ? 1 : 0;
  const sum = readReg(cpu, to, size) + b;
  const result = sum + carry;
  const out = size == 2 ? result >> 32 != 0 : sum < b || result < sum;
  writeReg(cpu, to, size, result);
  setSome(cpu, flag, out ? flag : 0);
  return ST_NEXT;
}
