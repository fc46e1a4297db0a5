/**
 * The control area: the first 16 MiB of a VM's linear memory, before guest RAM. Read by the core
 * (AssemblyScript) and by the host side (TypeScript), so it holds plain integer constants only.
 *
 *   0x000000  null page
 *   0x001000  static data of the core (constants that the compiler places)
 *   0x008000  decoder tables (isa/), CPUID table
 *   0x020000  vCPU blocks, 64 KiB each, up to 8
 *   0x0a0000  the board: device state and console rings (devices/board-state.ts)
 *   0x0e0000  what the threads that drive the VM share (run/control.ts)
 *   0x0f0000  which modules of translated code the VM uses
 *   0x100000  block hash table
 *   0x120000  how often each block was entered
 *   0x180000  per-page code maps: u32 sub-block bitmap and u32 list head for each guest page
 *   0x780000  code pages that somebody else than the vCPU has written: a bit for each guest page
 *   0x800000  decoded blocks
 *  0x1000000  guest RAM
 */

export const DECODE_TABLES = 0x8000;
export const CPUID_TABLE = 0x1e000;
export const CPUID_TABLE_LIMIT = 0x20000;
export const VCPU_BLOCKS = 0x20000;
export const VCPU_SIZE = 0x10000;
export const VCPU_LIMIT = 8;
export const BOARD_STATE_AREA = 0xa0000;
export const VM_CONTROL = 0xe0000;
/**
 * Which modules of translations the VM uses: u32 that changes when entries are taken out, u32 length of
 * the list, then for each u32 its place in the sequence of modules, u16 first place in the table, u16 places. Behind
 * the list u32 that changes when a function is used that was not, and a bit for each place of the table whose function is.
 */
export const TIER_STATE = 0xf0000;
export const TIER_EPOCH = 0;
export const TIER_COUNT = 4;
export const TIER_LIST = 8;
export const TIER_ENTRY = 8;
export const TIER_LIMIT = 0x1f00;
export const TIER_USES = TIER_LIST + TIER_LIMIT * TIER_ENTRY;
export const TIER_USED = 0xfc00;
export const TIER_USED_BYTES = 0x400;
export const BLOCK_HASH = 0x100000;
/** Entries of 4 bytes: pointer to the first block of the chain. */
export const BLOCK_HASH_ENTRIES = 0x8000;
/**
 * u32 for each 64 bytes of the block arena, of which no two blocks share any: how often the block was entered since it was
 * decoded, or since the translator last looked. It is not in the blocks, so that these stay as they were decoded: VMs that
 * go on from one snapshot share their pages.
 */
export const BLOCK_HEAT = 0x120000;
export const BLOCK_HEAT_SHIFT = 6;
export const PAGE_CODE = 0x180000;
export const PAGE_CODE_ENTRY = 8;
/** Bits of guest pages in words, written with atomics; see core/foreign-writes.ts. */
export const WRITTEN_PAGES = 0x780000;
export const BLOCK_ARENA = 0x800000;
export const BLOCK_ARENA_END = 0xd00000;
/** Contexts of installed translations. */
export const CONTEXT_ARENA = 0xd00000;
export const CONTEXT_ARENA_END = 0x1000000;
export const GUEST_BASE = 0x1000000;

/* ---- vCPU block: register file -------------------------------------------------------------- */

/** Sixteen general registers, 8 bytes each, in encoding order (RAX, RCX, RDX, RBX, RSP …). */
export const GPR = 0x0;
export const RAX = 0;
export const RCX = 8;
export const RDX = 16;
export const RBX = 24;
export const RSP = 32;
export const RBP = 40;
export const RSI = 48;
export const RDI = 56;
export const R11 = 88;
/** RIP of the first byte of the current block; outside the run loop, RIP itself. */
export const RIP = 128;
/** Always zero: base or index of an address that has none. */
export const SLOT_ZERO = 136;
/** Always 2^32: index of a RIP-relative address whose displacement wrapped. */
export const SLOT_4G = 144;
/** Where RIP goes next, when an instruction outside the loop changed it. */
export const NEXT_RIP = 152;

/** Segment bases, indexed by segment slot: 0 is flat, then ES CS SS DS FS GS, then TR, LDTR. */
export const SEG_BASE = 0x100;
export const SEG_ES = 1;
export const SEG_CS = 2;
export const SEG_SS = 3;
export const SEG_DS = 4;
export const SEG_FS = 5;
export const SEG_GS = 6;
export const SEG_TR = 7;
export const SEG_LDTR = 8;
/** u32 limit (bytes, inclusive), same index. */
export const SEG_LIMIT = 0x150;
/** u32 attributes: descriptor bits 40–55 (type, S, DPL, P, AVL, L, D/B, G) as in VMX's layout without "unusable". */
export const SEG_ATTR = 0x180;
/** u16 selectors, as u32. */
export const SEG_SEL = 0x1b0;
export const GDT_BASE = 0x1e0;
export const IDT_BASE = 0x1e8;
export const GDT_LIMIT = 0x1f0;
export const IDT_LIMIT = 0x1f4;

/* ---- flags: see core/flags.ts --------------------------------------------------------------- */
export const CC_OP = 0x200;
/** RFLAGS without CF PF AF ZF SF OF (those are lazy unless CC_OP is CC_EXPLICIT). */
export const FLAGS = 0x204;
export const CC_RES = 0x208;
export const CC_A = 0x210;
export const CC_B = 0x218;

/* ---- control registers and modes ------------------------------------------------------------ */
export const CR0 = 0x220;
export const CR2 = 0x228;
export const CR3 = 0x230;
export const CR4 = 0x238;
export const EFER = 0x240;
export const DR0 = 0x248;
export const DR6 = 0x268;
export const DR7 = 0x270;
/** u32: current privilege level. */
export const CPL = 0x278;
/** u32: what a decoded block depends on, see MODE_*. */
export const MODE = 0x27c;
/** u32: offset in the vCPU block of the TLB set of the current privilege (TLB_SUPERVISOR or TLB_USER). */
export const TLB_SET = 0x280;
/** u32: non-zero asks the run loop to leave at the next block boundary, see POLL_*. Written with atomics. */
export const POLL = 0x284;
/** u32: 1 while interrupts are held off for one instruction (STI, MOV SS). */
export const SHADOW = 0x288;
/** u32: pending exception + 1, 0 for none. */
export const EXC_VECTOR = 0x28c;
/** u32: its error code; EXC_HAS_ERROR tells whether it has one. */
export const EXC_ERROR = 0x290;
export const EXC_HAS_ERROR = 0x294;
/** u32: exit reason of the last run, see EXIT_*. */
export const EXIT_REASON = 0x298;
/** u32: bit 0: an interrupt waits for IF. */
export const INTERRUPT_WINDOW = 0x29c;
/** u64: instructions retired since the VM was made. */
export const ICOUNT = 0x2a0;
/** u64: value handed over by the host's RDMSR, MMIO read. */
export const HOST_VALUE = 0x2a8;
/** u32: pointer of the block being run. */
export const CURRENT_BLOCK = 0x2b0;
/** u32: next free byte of the block arena (vCPU 0's is the VM's). */
export const ARENA_NEXT = 0x2b4;
/** u64 each: range of virtual addresses mapped by large pages since the last flush. */
export const LARGE_LOW = 0x2b8;
export const LARGE_HIGH = 0x2c0;
/** u32: guest RAM in 4 KiB pages. */
export const RAM_PAGES = 0x2c8;
/** u32: how often the decoded blocks were thrown away. */
export const ARENA_FLUSHES = 0x2cc;
/** u64: added to the host's time-stamp value by RDTSC (IA32_TSC_ADJUST and writes of IA32_TSC). */
export const TSC_OFFSET = 0x2d0;
/** u32: number of the vCPU. */
export const VCPU_ID = 0x2d8;
/** u32: how many rows the CPUID table has. */
export const CPUID_ROWS = 0x2dc;
/** u64: virtual address of an access that the slow path completes (MMIO or two pages). */
export const COMMIT_ADDRESS = 0x2e0;
/** u32: its size. */
export const COMMIT_SIZE = 0x2e8;
/** u32: 1 while the vCPU sleeps in HLT. */
export const HALTED = 0x2ec;
/** u32: 1 when `run` shall return to whoever asked (Vcpu.kick). Written with atomics. */
export const KICKED = 0x2f0;
/** i32: what the call of `run` may still cost beside its instructions (core/work.ts); 0 or less: no limit, or used up. */
export const WORK = 0x2f4;
/** u64, u32, u32: where translated code left, the link it left through (0: none), its ST_*. */
export const JIT_RIP = 0x700;
export const JIT_LINK = 0x708;
export const JIT_STATUS = 0x70c;
/** u64 each, indexed by segment slot: what an address in the segment carries, see core/segment-check.ts; right outside 64-bit code. */
export const SEG_MARK = 0x740;
/** u64: address that is not canonical and that a data access met, else 0: see core/stack-fault.ts. */
export const EXC_ADDRESS = 0x778;
/** u32: next free byte of the context arena (vCPU 0's is the VM's). */
export const CONTEXT_NEXT = 0x710;
/** u32: how many calls of translated code by translated code are under way. */
export const JIT_DEPTH = 0x718;
/** u32: counts writes to guest RAM by others than the vCPU (vCPU 0's is the VM's). With atomics. */
export const FOREIGN_WRITES = 0x720;
/** u32: 1 while there may be bits in WRITTEN_PAGES (vCPU 0's is the VM's). With atomics. */
export const WRITTEN_PENDING = 0x724;
/** u32: heat at which a block is put on the list; 0 never; 1 before it first runs, and `run` returns. */
export const HOT_THRESHOLD = 0x714;
/** u32: entries of a translation at which its block is put on the list again; 0 never. */
export const WIDE_THRESHOLD = 0x71c;
/**
 * u32: entries on the list for the translator; of 16 bytes: u32 block, u32 TLB set, u64 RIP; or u32 context, u32
 * TLB set, u64 linear address of one of its pages plus the page's number in the region.
 */
export const HOT_COUNT = 0x7000;
export const HOT_LIST = 0x7010;
export const HOT_LIMIT = 640;
export const HOT_ENTRY = 16;
/**
 * Blocks of one instruction that crosses a page, by its physical address: header and two operations,
 * then u32 physical address (0: none) and the 16 bytes that were decoded.
 */
export const CROSSING_BLOCKS = 0xe000;
export const CROSSING_ENTRIES = 32;
export const CROSSING_SIZE = 128;
export const CROSSING_PHYS = 80;
export const CROSSING_CODE = 96;
/** u32 each: a block by its linear address, see core/chain.ts. */
export const JUMP_CACHE = 0xa000;
export const JUMP_CACHE_ENTRIES = 2048;
/** 64 bytes: an access that is not plain RAM goes through here. */
export const BOUNCE = 0x300;

/* ---- MSRs kept by the core (u64 each) -------------------------------------------------------- */
export const MSR_STAR = 0x340;
export const MSR_LSTAR = 0x348;
export const MSR_CSTAR = 0x350;
export const MSR_SFMASK = 0x358;
export const MSR_KERNEL_GS_BASE = 0x360;
export const MSR_SYSENTER_CS = 0x368;
export const MSR_SYSENTER_ESP = 0x370;
export const MSR_SYSENTER_EIP = 0x378;
export const MSR_TSC_AUX = 0x380;
export const MSR_PAT = 0x388;
export const MSR_MISC_ENABLE = 0x390;
export const MSR_MTRR_DEF_TYPE = 0x398;
/** u64 each: KVM clock MSRs, as the guest wrote them. */
export const MSR_KVM_WALL_CLOCK = 0x3a0;
export const MSR_KVM_SYSTEM_TIME = 0x3a8;

/* ---- floating point and SIMD ----------------------------------------------------------------- */
/** Sixteen XMM registers, 16 bytes each. */
export const XMM = 0x400;
/** Eight x87 data registers in physical order (R0–R7): u64 significand, u16 sign and exponent, 16 bytes apart. MMX registers are the significands. */
export const FPR = 0x500;
export const FPU_CW = 0x580;
/** u32: status word without TOP. */
export const FPU_SW = 0x584;
/** u32: TOP, 0–7. */
export const FPU_TOP = 0x588;
/** u32: two tag bits a register as in the FSTENV image (0 valid, 1 zero, 2 special, 3 empty). */
export const FPU_TAG = 0x58c;
export const FPU_FIP = 0x590;
export const FPU_FDP = 0x598;
/** u32: last opcode (11 bits), u32: selectors. */
export const FPU_FOP = 0x5a0;
export const FPU_FCS = 0x5a4;
export const FPU_FDS = 0x5a8;
export const MXCSR = 0x5ac;
/** Scratch for 16-byte operands that cross pages. */
export const SIMD_SCRATCH = 0x5c0;

/** 32 bytes: an instruction that crosses a page, put together for the decoder. */
export const CODE_SCRATCH = 0x600;
/** A decoded operation: the one that faulted, see core/stack-fault.ts. */
export const FAULT_RECORD = 0x620;
/** An empty block: header, a BREAK, where every call of `run` begins, and a TAIL, where it comes after translated code. */
export const START_BLOCK = 0x6a0;

/* ---- software TLBs: see core/mmu.ts ---------------------------------------------------------- */
/** 256 entries of 16 bytes: u64 page address (all ones when empty), u32 addend, u32 information. */
export const TLB_ENTRIES = 256;
export const TLB_BYTES = 0x1000;
export const TLB_READ = 0x0;
export const TLB_WRITE = 0x1000;
export const TLB_EXEC = 0x2000;
export const TLB_SUPERVISOR = 0x1000;
export const TLB_USER = 0x4000;
/** The exec TLB's second way: what was the first before the last entry came, behind the set like the others. */
export const TLB_EXEC_SECOND = 0xb000;
/** What the data TLBs have given up: see core/victims.ts. */
export const VICTIMS = 0xd000;
export const VICTIMS_BYTES = 0x1000;

/* ---- MODE: what decoding depends on ---------------------------------------------------------- */
export const MODE_CODE16 = 0;
export const MODE_CODE32 = 1;
export const MODE_CODE64 = 2;
export const MODE_CODE_MASK = 3;
/** Stack pointer is ESP (SS.B set); in 64-bit code it is always RSP. */
export const MODE_STACK32 = 4;
/** One instruction a block: RFLAGS.TF or a breakpoint of DR7 is set. */
export const MODE_STEP = 8;
/** Real-address or virtual-8086 mode: segments are selector × 16. */
export const MODE_REAL = 16;
/**
 * 32-bit code whose offsets are linear addresses: ES, CS, SS and DS start at 0, end at 4 GiB and may be read, and but
 * for CS written, anywhere; SS.B is set.
 */
export const MODE_FLAT = 32;

/* ---- POLL bits -------------------------------------------------------------------------------- */
/** The host wants the vCPU: interrupt to deliver, stop, pause. */
export const POLL_HOST = 1;
/** An interrupt waits and IF has just become 1. */
export const POLL_WINDOW = 2;
/** Single step or breakpoints: look at each boundary. */
export const POLL_STEP = 4;
/** The next block is the one that STI or MOV SS shields. */
export const POLL_SHADOW = 8;

/* ---- EXIT reasons ----------------------------------------------------------------------------- */
export const EXIT_BUDGET = 0;
export const EXIT_POLL = 1;
export const EXIT_HALT = 2;
/** Triple fault. */
export const EXIT_SHUTDOWN = 3;

/* ---- what a routine outside the loop returns --------------------------------------------------- */
/** Go on with the next decoded operation. */
export const ST_NEXT = 0;
/** An exception is pending in EXC_VECTOR; the instruction has changed nothing. */
export const ST_FAULT = 1;
/** NEXT_RIP holds the new RIP; the block ends. */
export const ST_JUMP = 2;
/** As ST_JUMP, then leave the run loop with HALT. */
export const ST_HALT = 3;
/** Leave the run loop with the reason in EXIT_REASON; RIP stays at this instruction. */
export const ST_EXIT = 4;
/** A repeated string operation used up its slice: RIP stays at this instruction, RCX tells what is left. */
export const ST_AGAIN = 5;
/** A call between translations did not come back to its caller: as ST_NEXT, once all of them have returned. */
export const ST_AWAY = 6;

/* ---- decoded block ------------------------------------------------------------------------------ */
/** u32 guest physical address of the first byte; DEAD_BLOCK when invalidated. */
export const BLK_PHYS = 0;
/** u32 mode. */
export const BLK_MODE = 4;
/** u32 next block of the hash chain. */
export const BLK_CHAIN = 8;
/** u16 number of operations, u16 length in bytes. */
export const BLK_COUNT = 12;
export const BLK_LENGTH = 14;
/** u32 block to go to when the branch is taken, and when not. */
export const BLK_TAKEN = 16;
export const BLK_FALL = 20;
/** u32 next block of the same guest page. */
export const BLK_PAGE_NEXT = 24;
/** u32 context of the translation that starts at this block, or 0. */
export const BLK_CODE = 28;
/** u16 whether the block has been found not to be translated yet, when it was warm. */
export const BLK_WARM = 32;
/** u16 whether FALL, which is not counted, follows its operations. */
export const BLK_FALLS = 34;
/** u32 how often a block that is not in the arena was entered: one of an instruction that crosses pages. */
export const BLK_HEAT = 36;
export const BLK_HEADER = 40;
export const DEAD_BLOCK = 0xffffffff;
/**
 * BLK_MODE of what stands on a page's list for a region whose root is in another page: BLK_PHYS is the page, BLK_TAKEN
 * the sub-blocks that the region's code lies in, BLK_CODE its context.
 */
export const MODE_OUTLIER = 0x80;

/* ---- context of an installed translation -------------------------------------------------------- */
/** u32 index in the core's table; 0 once its code has been overwritten. */
export const CTX_FUNCTION = 0;
/** u32 sub-blocks of the page that its code lies in. */
export const CTX_BITMAP = 4;
/** u32 the block that it starts at. */
export const CTX_ROOT = 8;
/** u32 how often control came into it, from another block or back from a call; of no interest from CTX_SETTLED on. */
export const CTX_ENTRIES = 12;
export const CTX_SETTLED = 0x80000000;
/**
 * u32 each, downwards from here: for each page of the region but its root's the physical page that it was
 * found to be, or PAGE_UNBOUND, or PAGE_ASKED; then where control went last time through each exit.
 */
export const CTX_LINKS = 0;
export const PAGE_UNBOUND = 0xffffffff;
export const PAGE_ASKED = 0xfffffffe;
/** Records for the interpreter's routines. */
export const CTX_RECORDS = 16;

/* ---- decoded operation, 16 bytes ------------------------------------------------------------------ */
export const REC_OP = 0;
/** u8 slot of the `reg` operand: byte offset in GPR (high byte registers: +1), or 16 × number for XMM, or a plain number. */
export const REC_R = 2;
/** u8 slot of the `r/m` operand when it is a register, else of the base register. */
export const REC_B = 3;
/** u8 slot of the index register. */
export const REC_X = 4;
/** u8: bits 0–1 scale, bits 2–4 segment slot, bit 5 address size 32, bit 6 address size 16. */
export const REC_EA = 5;
/** u8 offset of the instruction in its block. */
export const REC_OFF = 6;
/** u8: bits 0–3 length, bits 4–5 operand size (0 = 8 … 3 = 64 bits), bit 6 operand in memory, bit 7 LOCK. */
export const REC_LEN = 7;
/** i32 displacement. */
export const REC_DISP = 8;
/** i32 immediate; with REC_DISP a 64-bit immediate where there is no address. */
export const REC_IMM = 12;
export const REC_SIZE = 16;
export const EA_SCALE = 3;
export const EA_SEG_SHIFT = 2;
export const EA_ADDR32 = 0x20;
export const EA_ADDR16 = 0x40;
export const LEN_MASK = 15;
export const LEN_SIZE_SHIFT = 4;
export const LEN_MEM = 0x40;
export const LEN_LOCK = 0x80;
