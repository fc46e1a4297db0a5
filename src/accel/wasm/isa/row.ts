/**
 * The encoding table's row: one line for each encoding that the engine knows. Decoder tables, the
 * core's operation numbers, the instruction tests and the documentation are made from these rows.
 *
 * An encoding is written as in Intel SDM vol. 2, chapter 3.1.1.1: optional mandatory prefix (NP, 66,
 * F3, F2), opcode bytes, then `/r`, `/0`–`/7`, `+r`. Operands use the letters of appendix A.2
 * (E G I J M O S C D V W P Q Z X Y …) with a size letter (b w d q v z y x).
 */

/** Which routine of the core executes an operation. */
export type Unit = 'hot' | 'integer' | 'string' | 'system' | 'x87' | 'sse' | 'sse4';

export interface Row {
  /** E.g. `66 0F 6F /r`, `81 /0`, `40 +r`. */
  readonly encoding: string;
  /** Lower-case mnemonic. */
  readonly mnemonic: string;
  /** E.g. `Ev,Iz`; empty when there are none that the encoding shows. */
  readonly operands: string;
  /** Operation when the r/m operand is a register, or there is no ModRM byte; '' is #UD. */
  readonly register: string;
  /** Operation when it is in memory; '' is #UD. */
  readonly memory: string;
  readonly unit: Unit;
  readonly traits: Traits;
}

export interface Traits {
  /**
   * Operand size: `b` 8; `v` 16, 32 or 64; `v64` as `v` but 64 by default in 64-bit code (32 does not
   * exist there); `f64` as `v`, but always 64 in 64-bit code; `y` 32 or 64; `w`, `d`, `q` fixed; absent: the operation does not use it.
   */
  readonly size?: 'b' | 'v' | 'v64' | 'f64' | 'y' | 'w' | 'd' | 'q';
  /** The operation has one number for each size: NAME_8, NAME_16, NAME_32, NAME_64. */
  readonly sized?: boolean;
  /** The block ends after it: control flow, or a change of what decoding depends on. */
  readonly ends?: boolean;
  /** LOCK is allowed with a memory operand. */
  readonly lock?: boolean;
  /** #UD in 64-bit code. */
  readonly not64?: boolean;
  /** #UD outside 64-bit code. */
  readonly only64?: boolean;
  /** In the register form `reg` and `r/m` change places, so that one operation serves both directions. */
  readonly swap?: boolean;
  /** The instruction tests leave it out, because it cannot run in user mode on the host's processor. */
  readonly privileged?: boolean;
  /** Flags that the manual leaves undefined, as an RFLAGS mask, for the instruction tests. */
  readonly undefinedFlags?: number;
}

/** A row whose register and memory forms are named `name_R` and `name_M`, or plain `name` without ModRM. */
export function row(
  encoding: string,
  mnemonic: string,
  operands: string,
  unit: Unit,
  forms: string | readonly [register: string, memory: string],
  traits: Traits = {},
): Row {
  const [register, memory] = typeof forms === 'string' ? [forms, forms] : forms;
  return { encoding, mnemonic, operands, register, memory, unit, traits };
}
