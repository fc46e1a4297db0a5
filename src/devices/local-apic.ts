/**
 * A vCPU's local APIC: xAPIC in memory, x2APIC in MSRs.
 *
 * Source: Intel SDM vol. 3A, chapter 11: 11.4 register map and modes, 11.5 local vector table, 11.6
 * interprocessor interrupts, 11.8.3 priorities, 11.8.5 EOI, 11.12 x2APIC. Version 14h with six LVT
 * entries; no EOI-broadcast suppression, no CMCI. Every delivery is instantaneous, so the delivery
 * status bits always read idle.
 */

import type { Clock } from '../arch/clock.js';
import { LOCAL_APIC_ADDRESS } from '../arch/layout.js';
import { APIC_BASE_BSP, APIC_BASE_ENABLE, APIC_BASE_EXTD, IA32_X2APIC_FIRST } from '../arch/msr.js';
import { type ApicBus, BROADCAST, DELIVERY } from './apic-bus.js';
import type { StateBlock, TimedDevice } from './device.js';
import {
  APR,
  CURRENT_COUNT,
  DFR,
  DFR_FLAT,
  DIVIDE_CONFIGURATION,
  EOI,
  ESR,
  ESR_ILLEGAL_REGISTER,
  ESR_RECEIVED_ILLEGAL_VECTOR,
  ESR_SEND_ILLEGAL_VECTOR,
  FIRST_LEGAL_VECTOR,
  hasReservedBits,
  ICR_HIGH,
  ICR_LOW,
  ICR_WRITABLE,
  ID,
  INITIAL_COUNT,
  IRR7,
  ISR0,
  isReadable,
  LDR,
  LVT_DELIVERY_SHIFT,
  LVT_ENTRIES,
  LVT_ERROR,
  LVT_LEVEL,
  LVT_LINT0,
  LVT_LINT1,
  LVT_MASKED,
  LVT_REMOTE_IRR,
  LVT_TIMER,
  LVT_TIMER_MODE_SHIFT,
  LVT_WRITABLE,
  PPR,
  SELF_IPI,
  SVR,
  SVR_ENABLE,
  SVR_WRITABLE,
  TPR,
  VERSION,
  VERSION_VALUE,
} from './local-apic-registers.js';
import { LocalApicTimer, TIMER_PERIODIC, TIMER_TSC_DEADLINE } from './local-apic-timer.js';
import type { Rate } from './rate.js';
import { clearBit, highest, setBit, testBit } from './vector-bitmap.js';

/** Bytes of state. */
export const LOCAL_APIC_STATE_BYTES = 256;
/** Bytes of physical address space. */
export const LOCAL_APIC_MMIO_BYTES = 0x1000;

// State words; 16–23 and doubles 28–29 are the timer's.
const S_TPR = 1;
const S_LDR = 2;
const S_DFR = 3;
const S_SVR = 4;
const S_ESR = 5;
const S_ERRORS = 6;
const S_ICR_LOW = 7;
const S_ICR_HIGH = 8;
const S_LVT = 9;
const S_BASE_LOW = 24;
const S_BASE_HIGH = 25;
const S_SIGNALS = 26;
const S_SIPI_VECTOR = 27;
const S_LINT = 28;
const S_ISR = 32;
const S_TMR = 40;
const S_IRR = 48;

// S_SIGNALS
const SIGNAL_NMI = 1;
const SIGNAL_INIT = 2;
const SIGNAL_SIPI = 4;
const SIGNAL_WAIT_FOR_SIPI = 8;

/** What a local APIC needs of the machine around it. */
export interface LocalApicWiring {
  readonly clock: Clock;
  /** Clock of the time-stamp counter and of the timer. */
  readonly rate: Rate;
  /** Hertz of the same clock. */
  readonly frequency: number;
  readonly bus: ApicBus;
  /** Width of physical addresses, in bits. */
  readonly physicalAddressBits: number;
  /** The EOI message of a level-triggered interrupt. */
  endOfInterrupt(vector: number): void;
  /** Something that may interrupt this vCPU has changed. */
  changed(vcpu: number): void;
}

export class LocalApic implements TimedDevice {
  readonly name: string;
  readonly id: number;
  readonly timer: LocalApicTimer;
  readonly #u32: Uint32Array;
  readonly #wiring: LocalApicWiring;

  /** @param id APIC id and index of the vCPU; 0 is the bootstrap processor */
  constructor(id: number, state: StateBlock, wiring: LocalApicWiring) {
    this.name = `lapic${id}`;
    this.id = id;
    this.#u32 = state.u32;
    this.#wiring = wiring;
    this.timer = new LocalApicTimer(state, wiring.rate, wiring.frequency);
  }

  /** Power-on: xAPIC mode, software-disabled; all but the bootstrap processor wait for a SIPI. */
  reset(): void {
    this.#u32[S_BASE_LOW] =
      LOCAL_APIC_ADDRESS + APIC_BASE_ENABLE + (this.id === 0 ? APIC_BASE_BSP : 0);
    this.#u32[S_BASE_HIGH] = 0;
    this.#u32[S_SIGNALS] = this.id === 0 ? 0 : SIGNAL_WAIT_FOR_SIPI;
    this.#u32[S_LINT] = 0;
    this.timer.clearTimeStampOffset();
    this.#initialize();
  }

  /**
   * The virtual wire mode that firmware leaves behind: LINT0 passes the 8259A's requests on, LINT1 is
   * NMI (MultiProcessor Specification 1.4, 3.6.2.2).
   */
  configureVirtualWire(): void {
    this.#u32[S_SVR] = SVR_ENABLE | 0xff;
    this.#u32[S_LVT + LVT_LINT0 - LVT_TIMER] = DELIVERY.extInt << LVT_DELIVERY_SHIFT;
    this.#u32[S_LVT + LVT_LINT1 - LVT_TIMER] = DELIVERY.nmi << LVT_DELIVERY_SHIFT;
  }

  // What the vCPU takes.

  /** The vector that outranks the processor's priority, or -1. */
  pendingVector(): number {
    const vector = highest(this.#u32, S_IRR);
    return vector >>> 4 > this.processorPriority() >>> 4 && vector >= 0 ? vector : -1;
  }

  /** Moves `pendingVector()` from IRR into ISR. */
  acknowledge(vector: number): void {
    clearBit(this.#u32, S_IRR, vector);
    setBit(this.#u32, S_ISR, vector);
  }

  /** Whether LINT0 passes the 8259A's request through (also when the APIC is switched off). */
  get acceptsExtInt(): boolean {
    if (!this.globallyEnabled) return this.id === 0;
    const lint0 = this.#u32[S_LVT + LVT_LINT0 - LVT_TIMER]!;
    return (lint0 & LVT_MASKED) === 0 && ((lint0 >>> LVT_DELIVERY_SHIFT) & 7) === DELIVERY.extInt;
  }

  /** An NMI, INIT or SIPI is waiting. */
  get signalled(): boolean {
    return (this.#u32[S_SIGNALS]! & (SIGNAL_NMI | SIGNAL_INIT | SIGNAL_SIPI)) !== 0;
  }

  get pendingNmi(): boolean {
    return (this.#u32[S_SIGNALS]! & SIGNAL_NMI) !== 0;
  }

  takeNmi(): boolean {
    return this.#takeSignal(SIGNAL_NMI);
  }

  takeInit(): boolean {
    return this.#takeSignal(SIGNAL_INIT);
  }

  /** The vector of a start-up IPI (it starts at vector << 12), or -1. */
  takeSipi(): number {
    return this.#takeSignal(SIGNAL_SIPI) ? this.#u32[S_SIPI_VECTOR]! : -1;
  }

  /** The vCPU neither runs nor takes interrupts until a SIPI comes. */
  get waitsForSipi(): boolean {
    return (this.#u32[S_SIGNALS]! & SIGNAL_WAIT_FOR_SIPI) !== 0;
  }

  // What the bus and the wires bring.

  /** Whether a message is for this APIC. */
  isAddressed(destination: number, logical: boolean): boolean {
    if (!this.globallyEnabled) return false;
    if (!logical) return destination === BROADCAST || destination === this.id;
    const ldr = this.#readRegister(LDR);
    if (this.x2apic) {
      if (destination === BROADCAST) return true;
      return destination >>> 16 === ldr >>> 16 && (destination & ldr & 0xffff) !== 0;
    }
    const byte = destination & 0xff;
    const own = ldr >>> 24;
    if (this.#u32[S_DFR]! >>> 28 === DFR_FLAT) return (own & byte) !== 0;
    return (byte >>> 4 === 0xf || byte >>> 4 === own >>> 4) && (byte & own & 0xf) !== 0;
  }

  /** Takes a message; returns whether it did. */
  receive(mode: number, vector: number, level: boolean): boolean {
    const signals = this.#u32[S_SIGNALS]!;
    switch (mode) {
      case DELIVERY.fixed:
      case DELIVERY.lowestPriority:
        return this.#accept(vector, level);
      case DELIVERY.nmi:
        this.#u32[S_SIGNALS] = signals | SIGNAL_NMI;
        break;
      case DELIVERY.init:
        this.#initialize();
        this.#u32[S_SIGNALS] = SIGNAL_INIT | (this.id === 0 ? 0 : SIGNAL_WAIT_FOR_SIPI);
        break;
      case DELIVERY.startUp:
        if ((signals & SIGNAL_WAIT_FOR_SIPI) === 0) return false;
        this.#u32[S_SIPI_VECTOR] = vector;
        this.#u32[S_SIGNALS] = (signals & ~SIGNAL_WAIT_FOR_SIPI) | SIGNAL_SIPI;
        break;
      default:
        return false;
    }
    this.#wiring.changed(this.id);
    return true;
  }

  /** Drives LINT0 (`pin` 0) or LINT1 (1). */
  setLint(pin: number, level: boolean): void {
    const bit = 1 << pin;
    const before = this.#u32[S_LINT]!;
    this.#u32[S_LINT] = level ? before | bit : before & ~bit;
    if (!level) return;
    const rises = (before & bit) === 0;
    if (!this.globallyEnabled) {
      // Without the APIC the pins are INTR and NMI.
      if (pin === 0) this.#wiring.changed(this.id);
      else if (rises) this.receive(DELIVERY.nmi, 0, false);
      return;
    }
    const lvt = this.#u32[S_LVT + LVT_LINT0 - LVT_TIMER + pin]!;
    // ExtINT is a level: the 8259A may have another request without having dropped the first.
    const isLevel =
      (lvt & LVT_LEVEL) !== 0 || ((lvt >>> LVT_DELIVERY_SHIFT) & 7) === DELIVERY.extInt;
    if (rises || isLevel) this.#signalLint(pin);
  }

  // Time.

  deadline(): number {
    return this.timer.deadline;
  }

  expire(now: number): void {
    if (now < this.timer.deadline) return;
    const lvt = this.#u32[S_LVT]!;
    this.timer.restart(this.#timerMode() === TIMER_PERIODIC, now);
    if ((lvt & LVT_MASKED) === 0) this.#accept(lvt & 0xff, false);
  }

  /**
   * Delivers what the timer owes, before it is looked at or programmed: an expiry belongs to the
   * registers as they were when it came. Returns now, for all of one access.
   */
  #catchUp(): number {
    const now = this.#wiring.clock.now();
    this.expire(now);
    return now;
  }

  // Registers.

  get globallyEnabled(): boolean {
    return (this.#u32[S_BASE_LOW]! & APIC_BASE_ENABLE) !== 0;
  }

  get x2apic(): boolean {
    return (this.#u32[S_BASE_LOW]! & APIC_BASE_EXTD) !== 0;
  }

  get softwareEnabled(): boolean {
    return this.globallyEnabled && (this.#u32[S_SVR]! & SVR_ENABLE) !== 0;
  }

  /** Physical address of the register page in xAPIC mode; -1 in the other modes. */
  get mmioBase(): number {
    if (!this.globallyEnabled || this.x2apic) return -1;
    const low = this.#u32[S_BASE_LOW]!;
    return this.#u32[S_BASE_HIGH]! * 0x1_0000_0000 + (low - (low & 0xfff));
  }

  /** IA32_APIC_BASE. */
  get base(): bigint {
    return (BigInt(this.#u32[S_BASE_HIGH]!) << 32n) | BigInt(this.#u32[S_BASE_LOW]!);
  }

  /** Writes IA32_APIC_BASE; false for a reserved bit or a forbidden transition (#GP). */
  setBase(value: bigint): boolean {
    if (value >> BigInt(this.#wiring.physicalAddressBits) !== 0n) return false;
    const low = Number(value & 0xffffffffn);
    if ((low & 0x2ff) !== 0) return false;
    const enable = (low & APIC_BASE_ENABLE) !== 0;
    const extended = (low & APIC_BASE_EXTD) !== 0;
    if (extended && (!enable || !this.globallyEnabled)) return false;
    if (!extended && enable && this.x2apic) return false;
    this.#catchUp();
    if (!enable && this.globallyEnabled) this.#initialize();
    const entersX2apic = extended && !this.x2apic;
    this.#u32[S_BASE_LOW] = low;
    this.#u32[S_BASE_HIGH] = Number(value >> 32n);
    if (entersX2apic) this.#u32[S_ICR_HIGH] = 0;
    this.#wiring.changed(this.id);
    return true;
  }

  /** Higher of TPR and the class in service (SDM 11.8.3.1). */
  processorPriority(): number {
    const tpr = this.#u32[S_TPR]!;
    const inService = highest(this.#u32, S_ISR);
    return inService < 0 || tpr >>> 4 >= inService >>> 4 ? tpr : inService & 0xf0;
  }

  get taskPriority(): number {
    return this.#u32[S_TPR]!;
  }

  set taskPriority(value: number) {
    this.#u32[S_TPR] = value & 0xff;
    this.#wiring.changed(this.id);
  }

  readMmio(offset: number, size: number): number {
    // Only the first 4 bytes of each 16 are defined.
    if ((offset & 0xc) !== 0) return 0;
    const value = this.#readXapic(offset >>> 4);
    return size === 4 ? value : value >>> ((offset & 3) * 8);
  }

  writeMmio(offset: number, size: number, value: number): void {
    if (size !== 4 || (offset & 0xf) !== 0) return;
    const register = offset >>> 4;
    switch (register) {
      case LDR:
        this.#u32[S_LDR] = value & 0xff000000;
        break;
      case DFR:
        this.#u32[S_DFR] = (value | 0x0fffffff) >>> 0;
        break;
      case ICR_HIGH:
        this.#u32[S_ICR_HIGH] = value & 0xff000000;
        break;
      case SELF_IPI:
        this.#error(ESR_ILLEGAL_REGISTER);
        break;
      default:
        if (!this.#writeRegister(register, value) && !isReadable(register)) {
          this.#error(ESR_ILLEGAL_REGISTER);
        }
    }
    this.#wiring.changed(this.id);
  }

  /** An x2APIC register by its MSR; undefined where RDMSR raises #GP. */
  readMsr(msr: number): bigint | undefined {
    const register = msr - IA32_X2APIC_FIRST;
    if (!this.x2apic || register === DFR || register === ICR_HIGH || register === APR) {
      return undefined;
    }
    if (!isReadable(register)) return undefined;
    const low = BigInt(this.#readRegister(register));
    return register === ICR_LOW ? (BigInt(this.#u32[S_ICR_HIGH]!) << 32n) | low : low;
  }

  /** Writes an x2APIC register by its MSR; false where WRMSR raises #GP. */
  writeMsr(msr: number, value: bigint): boolean {
    const register = msr - IA32_X2APIC_FIRST;
    if (!this.x2apic) return false;
    const low = Number(value & 0xffffffffn);
    const high = Number((value >> 32n) & 0xffffffffn);
    if (register !== ICR_LOW && high !== 0) return false;
    if (hasReservedBits(register, low)) return false;
    if (register === ICR_LOW) this.#u32[S_ICR_HIGH] = high;
    const written = this.#writeRegister(register, low);
    this.#wiring.changed(this.id);
    return written;
  }

  /** IA32_TSC_DEADLINE; 0 once it has passed. */
  get timeStampDeadline(): bigint {
    this.#catchUp();
    return this.timer.timeStampDeadline;
  }

  /** Writes IA32_TIME_STAMP_COUNTER, which the deadline is compared with. */
  setTimeStamp(value: bigint): void {
    const now = this.#catchUp();
    this.timer.setTimeStamp(value, now);
    this.expire(now);
  }

  /** Writes IA32_TSC_DEADLINE, which has no effect outside TSC-deadline mode. */
  setTimeStampDeadline(value: bigint): void {
    if (this.#timerMode() !== TIMER_TSC_DEADLINE) return;
    const now = this.#catchUp();
    this.timer.setTimeStampDeadline(value, now);
    this.expire(now);
  }

  /** The state that INIT leaves; the id, the base and the mode survive it. */
  #initialize(): void {
    const u32 = this.#u32;
    u32.fill(0, S_TPR, S_LVT);
    u32.fill(0, S_ISR, S_IRR + 8);
    u32.fill(LVT_MASKED, S_LVT, S_LVT + LVT_ENTRIES);
    u32[S_DFR] = 0xffffffff;
    u32[S_SVR] = 0xff;
    this.timer.reset();
  }

  #takeSignal(signal: number): boolean {
    const signals = this.#u32[S_SIGNALS]!;
    this.#u32[S_SIGNALS] = signals & ~signal;
    return (signals & signal) !== 0;
  }

  #timerMode(): number {
    return (this.#u32[S_LVT]! >>> LVT_TIMER_MODE_SHIFT) & 3;
  }

  #accept(vector: number, level: boolean): boolean {
    if (vector < FIRST_LEGAL_VECTOR) {
      this.#error(ESR_RECEIVED_ILLEGAL_VECTOR);
      return false;
    }
    if (!this.softwareEnabled) return false;
    setBit(this.#u32, S_IRR, vector);
    if (level) setBit(this.#u32, S_TMR, vector);
    else clearBit(this.#u32, S_TMR, vector);
    this.#wiring.changed(this.id);
    return true;
  }

  #error(bit: number): void {
    this.#u32[S_ERRORS] = this.#u32[S_ERRORS]! | bit;
    const lvt = this.#u32[S_LVT + LVT_ERROR - LVT_TIMER]!;
    // An illegal vector in the error entry itself must not report itself for ever.
    if ((lvt & LVT_MASKED) === 0 && (lvt & 0xff) >= FIRST_LEGAL_VECTOR) {
      this.#accept(lvt & 0xff, false);
    }
  }

  #signalLint(pin: number): void {
    const index = S_LVT + LVT_LINT0 - LVT_TIMER + pin;
    const lvt = this.#u32[index]!;
    if ((lvt & LVT_MASKED) !== 0) return;
    const mode = (lvt >>> LVT_DELIVERY_SHIFT) & 7;
    if (mode === DELIVERY.extInt) {
      this.#wiring.changed(this.id);
    } else if (mode !== DELIVERY.fixed) {
      this.receive(mode, lvt & 0xff, false);
    } else if ((lvt & LVT_LEVEL) === 0) {
      this.#accept(lvt & 0xff, false);
    } else if ((lvt & LVT_REMOTE_IRR) === 0 && this.#accept(lvt & 0xff, true)) {
      this.#u32[index] = lvt | LVT_REMOTE_IRR;
    }
  }

  #endOfInterrupt(): void {
    const vector = highest(this.#u32, S_ISR);
    if (vector < 0) return;
    clearBit(this.#u32, S_ISR, vector);
    if (!testBit(this.#u32, S_TMR, vector)) return;
    for (let pin = 0; pin < 2; pin += 1) {
      const index = S_LVT + LVT_LINT0 - LVT_TIMER + pin;
      const lvt = this.#u32[index]!;
      if ((lvt & LVT_REMOTE_IRR) === 0 || (lvt & 0xff) !== vector) continue;
      this.#u32[index] = lvt & ~LVT_REMOTE_IRR;
      if ((this.#u32[S_LINT]! & (1 << pin)) !== 0) this.#signalLint(pin);
    }
    this.#wiring.endOfInterrupt(vector);
  }

  #readXapic(register: number): number {
    if (!isReadable(register)) {
      if (register !== EOI) this.#error(ESR_ILLEGAL_REGISTER);
      return 0;
    }
    return register === ID ? (this.id << 24) >>> 0 : this.#readRegister(register);
  }

  #readRegister(register: number): number {
    const u32 = this.#u32;
    if (register >= ISR0 && register <= IRR7) {
      this.#catchUp();
      return u32[S_ISR + register - ISR0]!;
    }
    if (register >= LVT_TIMER && register <= LVT_ERROR) return u32[S_LVT + register - LVT_TIMER]!;
    switch (register) {
      case ID:
        return this.id;
      case VERSION:
        return VERSION_VALUE;
      case TPR:
        return u32[S_TPR]!;
      case PPR:
        return this.processorPriority();
      case LDR:
        // In x2APIC mode it is derived: cluster of 16 in the upper half, one bit in the lower.
        return this.x2apic ? ((this.id >>> 4) << 16) | (1 << (this.id & 15)) : u32[S_LDR]!;
      case DFR:
        return u32[S_DFR]!;
      case SVR:
        return u32[S_SVR]!;
      case ESR:
        return u32[S_ESR]!;
      case ICR_LOW:
        return u32[S_ICR_LOW]!;
      case ICR_HIGH:
        return u32[S_ICR_HIGH]!;
      case INITIAL_COUNT:
        return this.timer.initialCount;
      case CURRENT_COUNT:
        return this.#timerMode() === TIMER_TSC_DEADLINE
          ? 0
          : this.timer.currentCount(this.#catchUp());
      case DIVIDE_CONFIGURATION:
        return this.timer.divideConfiguration;
      default:
        return 0;
    }
  }

  /** Writes what both modes share; false when there is no such writable register. */
  #writeRegister(register: number, value: number): boolean {
    const u32 = this.#u32;
    if (register >= LVT_TIMER && register <= LVT_ERROR) {
      this.#writeLvt(register - LVT_TIMER, value);
      return true;
    }
    switch (register) {
      case TPR:
        u32[S_TPR] = value & 0xff;
        return true;
      case EOI:
        this.#endOfInterrupt();
        return true;
      case SVR:
        this.#catchUp();
        u32[S_SVR] = value & SVR_WRITABLE;
        if ((value & SVR_ENABLE) === 0) {
          for (let entry = 0; entry < LVT_ENTRIES; entry += 1) {
            u32[S_LVT + entry] = u32[S_LVT + entry]! | LVT_MASKED;
          }
        }
        return true;
      case ESR:
        u32[S_ESR] = u32[S_ERRORS]!;
        u32[S_ERRORS] = 0;
        return true;
      case ICR_LOW:
        this.#writeIcr(value & ICR_WRITABLE);
        return true;
      case INITIAL_COUNT:
        if (this.#timerMode() !== TIMER_TSC_DEADLINE) {
          this.timer.setInitialCount(value, this.#catchUp());
        }
        return true;
      case DIVIDE_CONFIGURATION:
        this.timer.setDivideConfiguration(value, this.#catchUp());
        return true;
      case SELF_IPI:
        this.#accept(value & 0xff, false);
        return true;
      default:
        return false;
    }
  }

  #writeLvt(entry: number, value: number): void {
    const u32 = this.#u32;
    if (entry === 0) this.#catchUp();
    const before = u32[S_LVT + entry]!;
    let after = value & LVT_WRITABLE[entry]!;
    if (!this.softwareEnabled) after |= LVT_MASKED;
    if ((after & LVT_LEVEL) !== 0) after |= before & LVT_REMOTE_IRR;
    u32[S_LVT + entry] = after;
    if (entry === 0) {
      const crossed = ((before ^ after) >>> LVT_TIMER_MODE_SHIFT) & TIMER_TSC_DEADLINE;
      if (crossed !== 0) this.timer.disarm();
    } else {
      const pin = entry + LVT_TIMER - LVT_LINT0;
      const level = (after & LVT_LEVEL) !== 0;
      if (pin >= 0 && pin < 2 && level && (u32[S_LINT]! & (1 << pin)) !== 0) this.#signalLint(pin);
    }
  }

  #writeIcr(value: number): void {
    this.#u32[S_ICR_LOW] = value;
    const mode = (value >>> 8) & 7;
    const fixed = mode === DELIVERY.fixed || mode === DELIVERY.lowestPriority;
    if (fixed && (value & 0xff) < FIRST_LEGAL_VECTOR) {
      this.#error(ESR_SEND_ILLEGAL_VECTOR);
      return;
    }
    const high = this.#u32[S_ICR_HIGH]!;
    const logical = (value & 0x800) !== 0;
    const byte = high >>> 24;
    const destination = this.x2apic ? high : byte === 0xff && !logical ? BROADCAST : byte;
    this.#wiring.bus.sendIpi(this, value, destination);
  }
}
