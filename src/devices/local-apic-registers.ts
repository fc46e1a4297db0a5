/**
 * The local APIC's registers: numbers, bits, and which bits software may write.
 *
 * Source: Intel SDM vol. 3A, table 11-1 (register map), 11.5.1 local vector table, 11.12.1.2 x2APIC
 * register address space and reserved bits.
 */

// Registers: the memory offset / 16, which is also the MSR's distance from 800h.
export const ID = 0x02;
export const VERSION = 0x03;
export const TPR = 0x08;
export const APR = 0x09;
export const PPR = 0x0a;
export const EOI = 0x0b;
export const LDR = 0x0d;
export const DFR = 0x0e;
export const SVR = 0x0f;
/** ISR, TMR and IRR: 8 registers each, contiguous here as in the state. */
export const ISR0 = 0x10;
export const IRR7 = 0x27;
export const ESR = 0x28;
export const ICR_LOW = 0x30;
export const ICR_HIGH = 0x31;
export const LVT_TIMER = 0x32;
export const LVT_LINT0 = 0x35;
export const LVT_LINT1 = 0x36;
export const LVT_ERROR = 0x37;
export const INITIAL_COUNT = 0x38;
export const CURRENT_COUNT = 0x39;
export const DIVIDE_CONFIGURATION = 0x3e;
export const SELF_IPI = 0x3f;

export const LVT_ENTRIES = 6;
export const VERSION_VALUE = ((LVT_ENTRIES - 1) << 16) | 0x14;

export const SVR_ENABLE = 0x100;
export const SVR_WRITABLE = 0x1ff;
export const DFR_FLAT = 0xf;
export const ICR_WRITABLE = 0xccfff;

// LVT
export const LVT_DELIVERY_SHIFT = 8;
export const LVT_REMOTE_IRR = 0x4000;
export const LVT_LEVEL = 0x8000;
export const LVT_MASKED = 0x10000;
export const LVT_TIMER_MODE_SHIFT = 17;
/** Writable bits: timer, thermal, performance, LINT0, LINT1, error. */
export const LVT_WRITABLE = [0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff] as const;
/** Software may write these read-only bits back as it read them. */
export const LVT_STATUS_BITS = 0x5000;

// ESR
export const ESR_SEND_ILLEGAL_VECTOR = 0x20;
export const ESR_RECEIVED_ILLEGAL_VECTOR = 0x40;
export const ESR_ILLEGAL_REGISTER = 0x80;

/** Vectors below this are exceptions' and illegal for interrupts. */
export const FIRST_LEGAL_VECTOR = 16;

/** Whether a register of this number can be read in either mode. */
export function isReadable(register: number): boolean {
  if (register >= ISR0 && register <= IRR7) return true;
  if (register >= LVT_TIMER && register <= CURRENT_COUNT) return true;
  switch (register) {
    case ID:
    case VERSION:
    case TPR:
    case APR:
    case PPR:
    case LDR:
    case DFR:
    case SVR:
    case ESR:
    case ICR_LOW:
    case ICR_HIGH:
    case DIVIDE_CONFIGURATION:
      return true;
    default:
      return false;
  }
}

/** Whether an x2APIC write sets bits that must be zero. */
export function hasReservedBits(register: number, value: number): boolean {
  if (register >= LVT_TIMER && register <= LVT_ERROR) {
    return (value & ~(LVT_WRITABLE[register - LVT_TIMER]! | LVT_STATUS_BITS)) !== 0;
  }
  switch (register) {
    case TPR:
    case SELF_IPI:
      return (value & ~0xff) !== 0;
    case EOI:
    case ESR:
      return value !== 0;
    case SVR:
      return (value & ~SVR_WRITABLE) !== 0;
    case ICR_LOW:
      return (value & ~ICR_WRITABLE) !== 0;
    case DIVIDE_CONFIGURATION:
      return (value & ~0xb) !== 0;
    default:
      return false;
  }
}
