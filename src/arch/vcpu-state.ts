/** A vCPU's registers as a plain value: for error reports, tests and snapshots. */

/** Names of the general registers in encoding order (Intel SDM vol. 2, table 2-2). */
export const GENERAL_REGISTERS = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
] as const;

/** Names of the segment registers in encoding order. */
export const SEGMENT_REGISTERS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'] as const;

export interface VcpuState {
  readonly rip: bigint;
  readonly rflags: bigint;
  /** In the order of GENERAL_REGISTERS. */
  readonly gpr: readonly bigint[];
  readonly cr0: bigint;
  readonly cr2: bigint;
  readonly cr3: bigint;
  readonly cr4: bigint;
  readonly efer: bigint;
  /** Selectors in the order of SEGMENT_REGISTERS. */
  readonly segments: readonly number[];
  readonly halted: boolean;
}
