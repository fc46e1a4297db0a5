/**
 * The two interrupt controllers of a PC: 8259A, the second cascaded on input 2 of the first.
 *
 * Source: Intel 8259A data sheet (231468-003): initialization and operation command words,
 * "Fully nested mode", "Special mask mode", "Poll command", "Edge and level triggered modes".
 * The edge/level control registers at 4d0h/4d1h are the EISA specification's; with them ICW1's LTIM
 * has no effect. Only the 8086 mode (ICW4 bit 0) is modelled: a PC never uses the 8080 one.
 */
import type { InterruptLine, PortDevice, StateBlock } from './device.js';

/** Bytes of state. */
export const PIC_STATE_BYTES = 128;

export const PIC_MASTER_PORT = 0x20;
export const PIC_SLAVE_PORT = 0xa0;
export const PIC_ELCR_PORT = 0x4d0;

// ICW1, and what tells OCW2 and OCW3 apart at the same port.
const ICW1 = 0x10;
const ICW1_SNGL = 0x02;
const ICW1_IC4 = 0x01;
const OCW3 = 0x08;

// ICW4
const ICW4_AEOI = 0x02;
const ICW4_SFNM = 0x10;

// OCW2, bits 7–5
const OCW2_ROTATE_AEOI_CLEAR = 0;
const OCW2_EOI = 1;
const OCW2_SPECIFIC_EOI = 3;
const OCW2_ROTATE_AEOI_SET = 4;
const OCW2_ROTATE_EOI = 5;
const OCW2_SET_PRIORITY = 6;
const OCW2_ROTATE_SPECIFIC_EOI = 7;

// OCW3
const OCW3_ESMM = 0x40;
const OCW3_SMM = 0x20;
const OCW3_POLL = 0x04;
const OCW3_RR = 0x02;
const OCW3_RIS = 0x01;

// Initialization: which word is expected next at the odd port.
const READY = 0;
const EXPECT_ICW2 = 1;
const EXPECT_ICW3 = 2;
const EXPECT_ICW4 = 3;

// State words of one chip; the slave's follow the master's.
const IRR = 0;
const ISR = 1;
const IMR = 2;
const LINES = 3;
const ELCR = 4;
const VECTOR = 5;
const INIT = 6;
const S_ICW1 = 7;
const S_ICW4 = 8;
const READ_ISR = 9;
const POLL = 10;
const SPECIAL_MASK = 11;
const ROTATE_AEOI = 12;
/** Input of lowest priority; the next one round has the highest. */
const LOWEST = 13;
const CHIP_WORDS = 16;

const MASTER = 0;
const SLAVE = CHIP_WORDS;
const CASCADE = 2;
const SPURIOUS = 7;

/** Inputs that may be level triggered: not the timer, keyboard, cascade, RTC and coprocessor. */
const ELCR_MASTER_BITS = 0xf8;
const ELCR_SLAVE_BITS = 0xde;

export class Pic8259 implements PortDevice {
  readonly name = 'pic';
  readonly #u32: Uint32Array;
  readonly #output: InterruptLine;

  /** @param output the master's INT pin */
  constructor(state: StateBlock, output: InterruptLine) {
    this.#u32 = state.u32;
    this.#output = output;
  }

  /** The chips have no reset input; this is how firmware leaves them: every input masked. */
  reset(): void {
    this.#u32.fill(0, 0, 2 * CHIP_WORDS);
    this.#u32[MASTER + IMR] = 0xff;
    this.#u32[SLAVE + IMR] = 0xff;
    this.#u32[MASTER + LOWEST] = 7;
    this.#u32[SLAVE + LOWEST] = 7;
    this.#output.set(false);
  }

  /** Changes an input; `irq` is 0–15, and 2 does not exist: it is the cascade. */
  setLine(irq: number, level: boolean): void {
    if (irq === CASCADE) return;
    this.#setInput(irq < 8 ? MASTER : SLAVE, irq & 7, level);
    this.#update();
  }

  /** Whether INT is raised. */
  get requesting(): boolean {
    return this.#highest(MASTER) >= 0;
  }

  /** The vector that `acknowledge` would give now. */
  peek(): number {
    const irq = this.#highest(MASTER);
    if (irq !== CASCADE) return this.#vector(MASTER, irq < 0 ? SPURIOUS : irq);
    const slaveIrq = this.#highest(SLAVE);
    return this.#vector(SLAVE, slaveIrq < 0 ? SPURIOUS : slaveIrq);
  }

  /** The two INTA cycles of the processor: takes the request and returns its vector, 0–255. */
  acknowledge(): number {
    const irq = this.#take(MASTER);
    if (irq !== CASCADE) {
      this.#update();
      return this.#vector(MASTER, irq < 0 ? SPURIOUS : irq);
    }
    const slaveIrq = this.#take(SLAVE);
    // The slave drops INT during INTA; if it raises it again, that is a new edge for the master.
    this.#setInput(MASTER, CASCADE, false);
    this.#update();
    return this.#vector(SLAVE, slaveIrq < 0 ? SPURIOUS : slaveIrq);
  }

  readPort(port: number): number {
    if (port >= PIC_ELCR_PORT) return this.#u32[(port & 1 ? SLAVE : MASTER) + ELCR]!;
    const chip = (port & 0xfe) === PIC_MASTER_PORT ? MASTER : SLAVE;
    if (this.#u32[chip + POLL] !== 0) {
      this.#u32[chip + POLL] = 0;
      const irq = this.#take(chip);
      if (chip === SLAVE) this.#setInput(MASTER, CASCADE, false);
      this.#update();
      return irq < 0 ? 0 : 0x80 | irq;
    }
    if ((port & 1) !== 0) return this.#u32[chip + IMR]!;
    return this.#u32[chip + READ_ISR] !== 0 ? this.#u32[chip + ISR]! : this.#requests(chip);
  }

  writePort(port: number, _size: number, value: number): void {
    if (port >= PIC_ELCR_PORT) {
      const slave = (port & 1) !== 0;
      this.#u32[(slave ? SLAVE : MASTER) + ELCR] =
        value & (slave ? ELCR_SLAVE_BITS : ELCR_MASTER_BITS);
    } else {
      const chip = (port & 0xfe) === PIC_MASTER_PORT ? MASTER : SLAVE;
      if ((port & 1) !== 0) this.#writeOdd(chip, value);
      else if ((value & ICW1) !== 0) this.#writeIcw1(chip, value);
      else if ((value & OCW3) !== 0) this.#writeOcw3(chip, value);
      else this.#writeOcw2(chip, value);
    }
    this.#update();
  }

  #setInput(chip: number, irq: number, level: boolean): void {
    const bit = 1 << irq;
    const lines = this.#u32[chip + LINES]!;
    if (level) {
      if ((lines & bit) === 0) this.#u32[chip + IRR] = this.#u32[chip + IRR]! | bit;
      this.#u32[chip + LINES] = lines | bit;
    } else {
      // An input must stay high until INTA, else the request is gone (and INTA gives a default IR7).
      this.#u32[chip + IRR] = this.#u32[chip + IRR]! & ~bit;
      this.#u32[chip + LINES] = lines & ~bit;
    }
  }

  /** IRR as it reads: latched edges, and the level of level-triggered inputs. */
  #requests(chip: number): number {
    const elcr = this.#u32[chip + ELCR]!;
    return (this.#u32[chip + IRR]! & ~elcr) | (this.#u32[chip + LINES]! & elcr);
  }

  #vector(chip: number, irq: number): number {
    return this.#u32[chip + VECTOR]! | irq;
  }

  /** The input that the chip requests service for, or -1. */
  #highest(chip: number): number {
    const imr = this.#u32[chip + IMR]!;
    const requests = this.#requests(chip) & ~imr;
    if (requests === 0) return -1;
    let inService = this.#u32[chip + ISR]!;
    if (this.#u32[chip + SPECIAL_MASK] !== 0) inService &= ~imr;
    // Special fully nested: a slave in service may still interrupt with a higher input of its own.
    const nested = chip === MASTER && (this.#u32[chip + S_ICW4]! & ICW4_SFNM) !== 0;
    const lowest = this.#u32[chip + LOWEST]!;
    for (let step = 1; step <= 8; step += 1) {
      const irq = (lowest + step) & 7;
      const requested = ((requests >>> irq) & 1) !== 0;
      if (((inService >>> irq) & 1) !== 0) {
        return requested && nested && irq === CASCADE ? irq : -1;
      }
      if (requested) return irq;
    }
    return -1;
  }

  /** INTA to one chip: moves its highest request into service and returns the input, or -1. */
  #take(chip: number): number {
    const irq = this.#highest(chip);
    if (irq < 0) return -1;
    const bit = 1 << irq;
    this.#u32[chip + IRR] = this.#u32[chip + IRR]! & ~bit;
    if ((this.#u32[chip + S_ICW4]! & ICW4_AEOI) === 0) {
      this.#u32[chip + ISR] = this.#u32[chip + ISR]! | bit;
    } else if (this.#u32[chip + ROTATE_AEOI] !== 0) {
      this.#u32[chip + LOWEST] = irq;
    }
    return irq;
  }

  #writeIcw1(chip: number, value: number): void {
    const u32 = this.#u32;
    u32[chip + S_ICW1] = value;
    u32[chip + INIT] = EXPECT_ICW2;
    // The edge sense circuit is reset: an input that is high must fall and rise again.
    u32[chip + IRR] = 0;
    u32[chip + ISR] = 0;
    u32[chip + IMR] = 0;
    u32[chip + LOWEST] = 7;
    u32[chip + SPECIAL_MASK] = 0;
    u32[chip + READ_ISR] = 0;
    u32[chip + POLL] = 0;
    u32[chip + ROTATE_AEOI] = 0;
    u32[chip + S_ICW4] = 0;
  }

  #writeOdd(chip: number, value: number): void {
    const u32 = this.#u32;
    const icw1 = u32[chip + S_ICW1]!;
    const afterIcw3 = (icw1 & ICW1_IC4) !== 0 ? EXPECT_ICW4 : READY;
    switch (u32[chip + INIT]) {
      case EXPECT_ICW2:
        u32[chip + VECTOR] = value & 0xf8;
        u32[chip + INIT] = (icw1 & ICW1_SNGL) !== 0 ? afterIcw3 : EXPECT_ICW3;
        break;
      case EXPECT_ICW3:
        // The cascade is wired to input 2 whatever ICW3 claims.
        u32[chip + INIT] = afterIcw3;
        break;
      case EXPECT_ICW4:
        u32[chip + S_ICW4] = value;
        u32[chip + INIT] = READY;
        break;
      default:
        u32[chip + IMR] = value;
    }
  }

  #writeOcw3(chip: number, value: number): void {
    const u32 = this.#u32;
    if ((value & OCW3_ESMM) !== 0) u32[chip + SPECIAL_MASK] = value & OCW3_SMM;
    if ((value & OCW3_POLL) !== 0) u32[chip + POLL] = 1;
    else if ((value & OCW3_RR) !== 0) u32[chip + READ_ISR] = value & OCW3_RIS;
  }

  #writeOcw2(chip: number, value: number): void {
    const u32 = this.#u32;
    const level = value & 7;
    switch (value >>> 5) {
      case OCW2_EOI:
        this.#endOfInterrupt(chip, false);
        break;
      case OCW2_ROTATE_EOI:
        this.#endOfInterrupt(chip, true);
        break;
      case OCW2_SPECIFIC_EOI:
        u32[chip + ISR] = u32[chip + ISR]! & ~(1 << level);
        break;
      case OCW2_ROTATE_SPECIFIC_EOI:
        u32[chip + ISR] = u32[chip + ISR]! & ~(1 << level);
        u32[chip + LOWEST] = level;
        break;
      case OCW2_SET_PRIORITY:
        u32[chip + LOWEST] = level;
        break;
      case OCW2_ROTATE_AEOI_SET:
        u32[chip + ROTATE_AEOI] = 1;
        break;
      case OCW2_ROTATE_AEOI_CLEAR:
        u32[chip + ROTATE_AEOI] = 0;
        break;
    }
  }

  /** Non-specific EOI: resets the in-service bit of highest priority, sparing masked ones in SMM. */
  #endOfInterrupt(chip: number, rotate: boolean): void {
    const u32 = this.#u32;
    const masked = u32[chip + SPECIAL_MASK] !== 0 ? u32[chip + IMR]! : 0;
    const candidates = u32[chip + ISR]! & ~masked;
    if (candidates === 0) return;
    let irq = u32[chip + LOWEST]!;
    do irq = (irq + 1) & 7;
    while (((candidates >>> irq) & 1) === 0);
    u32[chip + ISR] = u32[chip + ISR]! & ~(1 << irq);
    if (rotate) u32[chip + LOWEST] = irq;
  }

  #update(): void {
    this.#setInput(MASTER, CASCADE, this.#highest(SLAVE) >= 0);
    this.#output.set(this.requesting);
  }
}
