/**
 * What a call of `run` may cost beyond its instructions. The budget counts instructions, and most take a few
 * nanoseconds; those that take a microsecond or more (devices, page walks, exceptions, repeated strings, decoding)
 * are charged here, in nanoseconds as a rule of thumb. Once WORK is used up the run loop comes out at the next
 * boundary, so that no guest keeps its thread, whatever it runs: also one whose exceptions never end, and which
 * therefore retires no instruction.
 */
import { POLL, POLL_HOST, WORK } from "../layout";

/** A read or write of a device through the host side. */
export const COST_DEVICE: i32 = 500;
export const COST_MSR: i32 = 500;
/** The host's clock. */
export const COST_CLOCK: i32 = 50;
/** Delivery of an exception or interrupt. */
export const COST_DELIVERY: i32 = 300;
export const COST_TASK_SWITCH: i32 = 1000;
export const COST_PAGE_WALK: i32 = 30;
export const COST_TLB_FLUSH: i32 = 2000;
/** A block to be decoded, or one that crosses a page to be compared with its bytes. */
export const COST_DECODE: i32 = 500;
/** A block on the list of a page that is written to. */
export const COST_BLOCK_WRITTEN: i32 = 5;
/** All blocks to be thrown away: the maps of all pages are looked through. */
export const COST_BLOCKS_FLUSH: i32 = 500_000;
/** A transcendental function. */
export const COST_TRANSCENDENTAL: i32 = 1000;
/** An element of a string operation that is done by itself. */
export const COST_ELEMENT: i32 = 10;
/** So many bits to shift a number of bytes done at once by: 32 bytes a nanosecond. */
export const BULK_SHIFT: u64 = 5;

/** Takes `cost` from what the call may still do; at 0 or below it is used up, or was never limited. */
export function charge(cpu: usize, cost: i32): void {
  const left = load<i32>(cpu, WORK);
  if (left <= 0) return;
  store<i32>(cpu, left - cost, WORK);
  if (left <= cost) atomic.or<u32>(cpu + POLL, POLL_HOST);
}
