/**
 * Where instruction tests keep their code and data: at the same linear addresses in this process (for
 * the host's processor) and in the guest (for the engine), so that results can be compared bit by bit.
 */

/**
 * First linear address: below 2 GiB, so absolute 32-bit displacements reach all of it, and above the
 * first GiB and a half, where the kernel puts the heap of a program that is linked to fixed addresses.
 */
export const ARENA = 0x7000_0000;
export const ARENA_SIZE = 0x20_0000;
/** Slots for the instructions under test. */
export const CODE = ARENA;
export const SLOT_SIZE = 64;
export const SLOT_COUNT = 0x10_0000 / SLOT_SIZE;
/** Where a slot's branches go: after the instruction (15 bytes at most) and its own landing pad. */
export const SLOT_TARGET = 40;
/** Memory operands and the stack lie in this window; a page ends in its middle. */
export const WINDOW_SIZE = 0x800;
export const WINDOW_CENTER = ARENA + 0x18_0000;
export const WINDOW = WINDOW_CENTER - WINDOW_SIZE / 2;
/** What only the host side needs: its state block, its own code, the stack of its signal handler. */
export const HOST_STATE = ARENA + 0x1c_0000;
export const HOST_CODE = ARENA + 0x1d_0000;
export const HOST_SIGNAL_STACK = ARENA + 0x1e_0000;
export const HOST_SIGNAL_STACK_SIZE = 0x1_0000;

/**
 * A processor state: 16 general registers, RIP, RFLAGS, then an FXSAVE image (64-bit format, SDM vol. 1,
 * 10.5.1) at a multiple of 16 bytes.
 */
export const STATE_RIP = 128;
export const STATE_FLAGS = 136;
export const STATE_FX = 144;
export const STATE_SIZE = STATE_FX + 512;
/** Offsets in the FXSAVE image. */
export const FX_MXCSR = 24;
export const FX_ST = 32;
export const FX_XMM = 160;

/** The FXSAVE image after FNINIT, with MXCSR's reset value. */
export function initialFx(): Uint8Array {
  const image = new Uint8Array(512);
  image[0] = 0x7f;
  image[1] = 0x03;
  image[FX_MXCSR] = 0x80;
  image[FX_MXCSR + 1] = 0x1f;
  return image;
}

/** Code segments that instructions are tested in. */
export type Bits = 32 | 64;

/** Leaves what 32-bit code can see: the lower halves of eight registers. */
export function narrowState(state: Uint8Array): void {
  for (let register = 0; register < 8; register++)
    state.fill(0, register * 8 + 4, register * 8 + 8);
  state.fill(0, 64, STATE_RIP);
}

/** Something that executes the instruction at a linear address of the arena. */
export interface Processor {
  /** The code segment's width. */
  bits: Bits;
  /** The slots' bytes. */
  readonly code: Uint8Array;
  /** The window's bytes as the processor sees them. */
  readWindow(into: Uint8Array): void;
  writeWindow(from: Uint8Array): void;
  /** Puts what ends a test at `address`: the place where a branch or the next instruction would be. */
  land(address: number): void;
  /**
   * Runs from `before`; fills `after`. The result is -1 or an exception vector. States of STATE_FX bytes
   * leave the floating-point registers out.
   */
  execute(before: Uint8Array, after: Uint8Array): number;
}
