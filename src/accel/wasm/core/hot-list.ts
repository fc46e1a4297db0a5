/** What the run loop and translated code want the translator's side to look at, once `run` returns. */
import { HOT_COUNT, HOT_ENTRY, HOT_LIMIT, HOT_LIST } from "../layout";

/** Puts a block, or a context with one of its pages, on the list; false when it is full. */
export function noteHot(cpu: usize, what: usize, set: u32, rip: u64): bool {
  const count = load<u32>(cpu, HOT_COUNT);
  if (count >= (HOT_LIMIT as u32)) return false;
  const entry = cpu + count * HOT_ENTRY;
  store<u32>(entry, what as u32, HOT_LIST);
  store<u32>(entry, set, HOT_LIST + 4);
  store<u64>(entry, rip, HOT_LIST + 8);
  store<u32>(cpu, count + 1, HOT_COUNT);
  return true;
}
