/** System encodings: segments, tables, control and debug registers, MSRs, ports, interrupts (Intel SDM vol. 2). */
import { type Row, row, type Traits } from './row.js';

const ends: Traits = { ends: true, privileged: true };
const sys: Traits = { privileged: true };

/** All system rows. */
export const SYSTEM_ROWS: readonly Row[] = [
  row('8C /r', 'mov', 'Ev,Sw', 'system', ['MOV_ES', 'MOV_ES'], { size: 'v', privileged: true }),
  row('8E /r', 'mov', 'Sw,Ew', 'system', ['MOV_SE', 'MOV_SE'], { ...ends, size: 'w' }),
  ...(
    [
      ['06', 'PUSH_ES'],
      ['0E', 'PUSH_CS'],
      ['16', 'PUSH_SS'],
      ['1E', 'PUSH_DS'],
    ] as const
  ).map(([code, name]) =>
    row(code, 'push', '', 'system', name, { ...sys, size: 'v', not64: true }),
  ),
  ...(
    [
      ['07', 'POP_ES'],
      ['17', 'POP_SS'],
      ['1F', 'POP_DS'],
    ] as const
  ).map(([code, name]) =>
    row(code, 'pop', '', 'system', name, { ...ends, size: 'v', not64: true }),
  ),
  row('0F A0', 'push', '', 'system', 'PUSH_FS', { ...sys, size: 'v64' }),
  row('0F A8', 'push', '', 'system', 'PUSH_GS', { ...sys, size: 'v64' }),
  row('0F A1', 'pop', '', 'system', 'POP_FS', { ...ends, size: 'v64' }),
  row('0F A9', 'pop', '', 'system', 'POP_GS', { ...ends, size: 'v64' }),
  row('C4 /r', 'les', 'Gv,M', 'system', ['', 'LES'], { ...ends, size: 'v', not64: true }),
  row('C5 /r', 'lds', 'Gv,M', 'system', ['', 'LDS'], { ...ends, size: 'v', not64: true }),
  row('0F B2 /r', 'lss', 'Gv,M', 'system', ['', 'LSS'], { ...ends, size: 'v' }),
  row('0F B4 /r', 'lfs', 'Gv,M', 'system', ['', 'LFS'], { ...ends, size: 'v' }),
  row('0F B5 /r', 'lgs', 'Gv,M', 'system', ['', 'LGS'], { ...ends, size: 'v' }),
  row('9A', 'call', 'Ap', 'system', 'CALL_FAR_I', { ...ends, size: 'v', not64: true }),
  row('EA', 'jmp', 'Ap', 'system', 'JMP_FAR_I', { ...ends, size: 'v', not64: true }),
  row('FF /3', 'call', 'M', 'system', ['', 'CALL_FAR_M'], { ...ends, size: 'v' }),
  row('FF /5', 'jmp', 'M', 'system', ['', 'JMP_FAR_M'], { ...ends, size: 'v' }),
  row('CB', 'retf', '', 'system', 'RETF', { ...ends, size: 'v' }),
  row('CA', 'retf', 'Iw', 'system', 'RETF_I', { ...ends, size: 'v' }),
  row('CC', 'int3', '', 'system', 'INT3', ends),
  row('CD', 'int', 'Ib', 'system', 'INT', ends),
  row('CE', 'into', '', 'system', 'INTO', { ...ends, not64: true }),
  row('F1', 'int1', '', 'system', 'INT1', ends),
  row('CF', 'iret', '', 'system', 'IRET', { ...ends, size: 'v' }),
  row('9C', 'pushf', '', 'system', 'PUSHF', { ...sys, size: 'v64' }),
  row('9D', 'popf', '', 'system', 'POPF', { ...ends, size: 'v64' }),
  row('FA', 'cli', '', 'system', 'CLI', sys),
  row('FB', 'sti', '', 'system', 'STI', ends),
  row('F4', 'hlt', '', 'system', 'HLT', ends),
  row('9B', 'fwait', '', 'x87', 'FWAIT', {}),
  row('E4', 'in', 'AL,Ib', 'system', 'IN_I', { ...ends, size: 'b' }),
  row('E5', 'in', 'eAX,Ib', 'system', 'IN_I', { ...ends, size: 'v' }),
  row('E6', 'out', 'Ib,AL', 'system', 'OUT_I', { ...ends, size: 'b' }),
  row('E7', 'out', 'Ib,eAX', 'system', 'OUT_I', { ...ends, size: 'v' }),
  row('EC', 'in', 'AL,DX', 'system', 'IN_DX', { ...ends, size: 'b' }),
  row('ED', 'in', 'eAX,DX', 'system', 'IN_DX', { ...ends, size: 'v' }),
  row('EE', 'out', 'DX,AL', 'system', 'OUT_DX', { ...ends, size: 'b' }),
  row('EF', 'out', 'DX,eAX', 'system', 'OUT_DX', { ...ends, size: 'v' }),
  row('63 /r', 'arpl', 'Ew,Gw', 'system', ['ARPL', 'ARPL'], { ...sys, size: 'w', not64: true }),
  row('0F 00 /0', 'sldt', 'Ev', 'system', ['SLDT', 'SLDT'], { ...sys, size: 'v' }),
  row('0F 00 /1', 'str', 'Ev', 'system', ['STR', 'STR'], { ...sys, size: 'v' }),
  row('0F 00 /2', 'lldt', 'Ew', 'system', ['LLDT', 'LLDT'], { ...sys, size: 'w' }),
  row('0F 00 /3', 'ltr', 'Ew', 'system', ['LTR', 'LTR'], { ...sys, size: 'w' }),
  row('0F 00 /4', 'verr', 'Ew', 'system', ['VERR', 'VERR'], { ...sys, size: 'w' }),
  row('0F 00 /5', 'verw', 'Ew', 'system', ['VERW', 'VERW'], { ...sys, size: 'w' }),
  // Register forms of group 7 are instructions of their own, told apart by the r/m number: VMCALL is C1, VMMCALL D9.
  row('0F 01 /0', 'sgdt', 'M', 'system', ['UD', 'SGDT'], sys),
  row('NP 0F 01 /0', 'sgdt', 'M', 'system', ['VMCALL', 'SGDT'], sys),
  row('0F 01 /1', 'sidt', 'M', 'system', ['UD', 'SIDT'], sys),
  row('0F 01 /2', 'lgdt', 'M', 'system', ['UD', 'LGDT'], { ...sys, size: 'v' }),
  row('0F 01 /3', 'lidt', 'M', 'system', ['VMMCALL', 'LIDT'], { ...sys, size: 'v' }),
  row('0F 01 /4', 'smsw', 'Ev', 'system', ['SMSW', 'SMSW'], { ...sys, size: 'v' }),
  row('0F 01 /6', 'lmsw', 'Ew', 'system', ['LMSW', 'LMSW'], { ...ends, size: 'w' }),
  // SWAPGS is F8, RDTSCP F9.
  row('0F 01 /7', 'invlpg', 'M', 'system', ['SWAPGS_RDTSCP', 'INVLPG'], ends),
  row('0F 02 /r', 'lar', 'Gv,Ew', 'system', ['LAR', 'LAR'], { ...sys, size: 'v' }),
  row('0F 03 /r', 'lsl', 'Gv,Ew', 'system', ['LSL', 'LSL'], { ...sys, size: 'v' }),
  row('0F 05', 'syscall', '', 'system', 'SYSCALL', { ...ends, only64: true }),
  row('0F 06', 'clts', '', 'system', 'CLTS', ends),
  row('0F 07', 'sysret', '', 'system', 'SYSRET', { ...ends, size: 'v', only64: true }),
  row('0F 08', 'invd', '', 'system', 'INVD', sys),
  row('0F 09', 'wbinvd', '', 'system', 'WBINVD', sys),
  row('0F 20 /r', 'mov', 'Rq,Cq', 'system', ['MOV_RC', 'MOV_RC'], { ...sys, size: 'q' }),
  row('0F 21 /r', 'mov', 'Rq,Dq', 'system', ['MOV_RD', 'MOV_RD'], { ...sys, size: 'q' }),
  row('0F 22 /r', 'mov', 'Cq,Rq', 'system', ['MOV_CR', 'MOV_CR'], { ...ends, size: 'q' }),
  row('0F 23 /r', 'mov', 'Dq,Rq', 'system', ['MOV_DR', 'MOV_DR'], { ...ends, size: 'q' }),
  row('0F 30', 'wrmsr', '', 'system', 'WRMSR', ends),
  row('0F 31', 'rdtsc', '', 'system', 'RDTSC', sys),
  row('0F 32', 'rdmsr', '', 'system', 'RDMSR', sys),
  row('0F 33', 'rdpmc', '', 'system', 'RDPMC', sys),
  row('0F 34', 'sysenter', '', 'system', 'SYSENTER', ends),
  row('0F 35', 'sysexit', '', 'system', 'SYSEXIT', { ...ends, size: 'v' }),
  row('0F A2', 'cpuid', '', 'system', 'CPUID', sys),
];
