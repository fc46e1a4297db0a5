/** Placeholder until the unit lands. */
import { ST_FAULT } from "../layout";
import { raise, VEC_UD } from "./fault";

export function execSystem(cpu: usize, rec: usize, op: u32): u32 {
  raise(cpu, VEC_UD);
  return ST_FAULT;
}

export function portAllowed(cpu: usize, port: u32, size: u32): bool {
  return true;
}
