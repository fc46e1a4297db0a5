/**
 * The serial port: a 16550A universal asynchronous receiver/transmitter.
 *
 * Source: National Semiconductor PC16550D data sheet (June 1995): section 8.0 registers, 8.4 FIFO
 * control, 8.5 interrupt identification, 8.7 modem control and its loopback, "FIFO interrupt mode
 * operation" for the character timeout. OUT2 does not gate the interrupt, as it does on an IBM PC/AT:
 * kernels written for virtual machines leave it clear.
 *
 * Out: the wire is infinitely fast, but its far end is not: bytes go to a ring that the host drains.
 * When the ring is full the transmitter keeps them, shows THRE clear and goes on when there is room
 * again, so a guest that looks at THRE loses nothing and the host holds a bounded amount.
 *
 * In: bytes wait in the host's ring until the guest listens (`#listens`), then come a batch at a time.
 * A batch fills the empty receiver, and the next one comes only a while after the guest has read it
 * all. So the interrupt falls between batches, and each raises an edge: an edge-triggered controller
 * sees it even when the handler returns with data ready, and processes get their turn in between.
 */

import type { Clock } from '../arch/clock.js';
import type { ByteRing } from './byte-ring.js';
import type { InterruptLine, PortDevice, StateBlock, TimedDevice } from './device.js';

/** Bytes of state. */
export const UART_STATE_BYTES = 128;

// Registers, by offset; the first two are the divisor latch while LCR_DLAB is set.
const RBR_THR = 0;
const IER = 1;
const IIR_FCR = 2;
const LCR = 3;
const MCR = 4;
const LSR = 5;
const MSR = 6;
const SCR = 7;

// IER
const IER_ERBFI = 0x01;
const IER_ETBEI = 0x02;
const IER_ELSI = 0x04;
const IER_EDSSI = 0x08;

// IIR
const IIR_NONE = 0x01;
const IIR_MODEM_STATUS = 0x00;
const IIR_THR_EMPTY = 0x02;
const IIR_DATA_AVAILABLE = 0x04;
const IIR_LINE_STATUS = 0x06;
const IIR_CHARACTER_TIMEOUT = 0x0c;
const IIR_FIFOS_ENABLED = 0xc0;

// FCR
const FCR_ENABLE = 0x01;
const FCR_RESET_RX = 0x02;
const FCR_RESET_TX = 0x04;
const FCR_STORED = 0xc9;
const RX_TRIGGER_LEVELS = [1, 4, 8, 14] as const;

// LCR
const LCR_WORD_LENGTH = 0x03;
const LCR_STB = 0x04;
const LCR_PEN = 0x08;
const LCR_DLAB = 0x80;

// MCR
const MCR_DTR = 0x01;
const MCR_RTS = 0x02;
const MCR_OUT1 = 0x04;
const MCR_OUT2 = 0x08;
const MCR_LOOP = 0x10;

// LSR
const LSR_DR = 0x01;
const LSR_OE = 0x02;
const LSR_ERRORS = 0x1e;
const LSR_THRE = 0x20;
const LSR_TEMT = 0x40;

// MSR
const MSR_CTS = 0x10;
const MSR_DSR = 0x20;
const MSR_RI = 0x40;
const MSR_DCD = 0x80;
const MSR_TERI = 0x04;

// State: 32-bit words, then a double, then the FIFOs.
const S_IER = 0;
const S_LCR = 1;
const S_MCR = 2;
const S_LSR_ERRORS = 3;
const S_MSR_DELTA = 4;
const S_SCR = 5;
const S_DIVISOR = 6;
const S_FCR = 7;
const S_THRE_PENDING = 8;
const S_TIMEOUT_PENDING = 9;
const S_RX_READ = 10;
const S_RX_COUNT = 11;
const S_TX_READ = 12;
const S_TX_COUNT = 13;
const F_TIMEOUT_AT = 7;
const B_RX_FIFO = 64;
const B_TX_FIFO = 80;
const FIFO_BYTES = 16;
/** When the line is free for the next batch of input. */
const F_LINE_FREE = 12;
/** When that batch comes; Infinity while none waits, or none may come. */
const F_INPUT_AT = 13;
/** Looks at LSR in a row that found neither a byte nor anything to wait for. */
const S_IDLE_LOOKS = 28;

/** Baud generator input: 1.8432 MHz, 16 clocks a bit. */
const NANOSECONDS_PER_DIVISOR_BIT = (16 / 1.8432e6) * 1e9;
const TIMEOUT_CHARACTERS = 4;
/** How long the line takes for a byte of input, whatever the divisor: a terminal has no wire. */
const NANOSECONDS_PER_INPUT_BYTE = 1000;
/** How long a receiver that was just set up stays empty: about a character at 115,200 baud. */
const NANOSECONDS_AFTER_SET_UP = 100_000;
/** From so many idle looks on a guest is taken to poll for input; drivers that write look once. */
const POLLING_LOOKS = 8;

export class Uart16550 implements PortDevice, TimedDevice {
  readonly name: string;
  readonly #base: number;
  readonly #s: StateBlock;
  readonly #clock: Clock;
  readonly #irq: InterruptLine;
  readonly #input: ByteRing;
  readonly #output: ByteRing;

  /**
   * @param base first of its 8 ports
   * @param input bytes from the host, of which this is the consumer
   * @param output bytes for the host, of which this is the producer
   */
  constructor(
    name: string,
    base: number,
    state: StateBlock,
    clock: Clock,
    irq: InterruptLine,
    input: ByteRing,
    output: ByteRing,
  ) {
    this.name = name;
    this.#base = base;
    this.#s = state;
    this.#clock = clock;
    this.#irq = irq;
    this.#input = input;
    this.#output = output;
  }

  reset(): void {
    this.#s.u8.fill(0);
    this.#s.u32[S_DIVISOR] = 1;
    this.#s.f64[F_TIMEOUT_AT] = Number.POSITIVE_INFINITY;
    this.#s.f64[F_INPUT_AT] = Number.POSITIVE_INFINITY;
    this.#updateIrq();
  }

  readPort(port: number): number {
    this.#catchUp();
    const u32 = this.#s.u32;
    const latch = (u32[S_LCR]! & LCR_DLAB) !== 0;
    switch (port - this.#base) {
      case RBR_THR:
        return latch ? u32[S_DIVISOR]! & 0xff : this.#readReceiver();
      case IER:
        return latch ? u32[S_DIVISOR]! >>> 8 : u32[S_IER]!;
      case IIR_FCR:
        return this.#readInterruptIdentification();
      case LCR:
        return u32[S_LCR]!;
      case MCR:
        return u32[S_MCR]!;
      case LSR:
        return this.#readLineStatus();
      case MSR: {
        const value = this.#modemLines() | u32[S_MSR_DELTA]!;
        u32[S_MSR_DELTA] = 0;
        this.#updateIrq();
        return value;
      }
      default:
        return u32[S_SCR]!;
    }
  }

  writePort(port: number, _size: number, value: number): void {
    this.#catchUp();
    const u32 = this.#s.u32;
    const latch = (u32[S_LCR]! & LCR_DLAB) !== 0;
    switch (port - this.#base) {
      case RBR_THR:
        if (latch) u32[S_DIVISOR] = (u32[S_DIVISOR]! & 0xff00) | value;
        else this.#transmit(value);
        break;
      case IER:
        if (latch) u32[S_DIVISOR] = (u32[S_DIVISOR]! & 0xff) | (value << 8);
        else this.#writeInterruptEnable(value & 0x0f);
        break;
      case IIR_FCR:
        this.#writeFifoControl(value);
        break;
      case LCR:
        u32[S_LCR] = value;
        break;
      case MCR:
        this.#writeModemControl(value & 0x1f);
        break;
      case SCR:
        u32[S_SCR] = value;
        break;
      case LSR:
      case MSR:
        // Factory test registers: the data sheet advises against writing them.
        break;
    }
  }

  deadline(): number {
    return Math.min(this.#s.f64[F_TIMEOUT_AT]!, this.#s.f64[F_INPUT_AT]!);
  }

  expire(now: number): void {
    const f64 = this.#s.f64;
    if (now >= f64[F_TIMEOUT_AT]!) {
      f64[F_TIMEOUT_AT] = Number.POSITIVE_INFINITY;
      this.#s.u32[S_TIMEOUT_PENDING] = 1;
      this.#updateIrq();
    }
    if (now >= f64[F_INPUT_AT]!) this.#receiveBatch();
  }

  /** Lets a batch of the host's bytes come, now or when the line is free. */
  pumpInput(): void {
    const f64 = this.#s.f64;
    if (f64[F_INPUT_AT] !== Number.POSITIVE_INFINITY || !this.#awaitsInput()) return;
    f64[F_INPUT_AT] = f64[F_LINE_FREE]!;
    this.#catchUp();
  }

  /** Whether it found the host's ring full and holds bytes until there is room. */
  get transmitterWaits(): boolean {
    return this.#s.u32[S_TX_COUNT]! > 0;
  }

  /** Goes on transmitting after the host has made room in its ring. */
  pumpOutput(): void {
    if (this.#s.u32[S_TX_COUNT] === 0) return;
    this.#drainTransmitter();
    this.#updateIrq();
  }

  /** Lets what is due come before a register is read or written. */
  #catchUp(): void {
    if (this.deadline() !== Number.POSITIVE_INFINITY) this.expire(this.#clock.now());
  }

  /**
   * Whether the guest wants input: it has raised RTS, enabled the receiver's interrupt, or polls. The
   * 16550A has no flow control of its own, but a byte that comes before a driver has opened the port
   * is a byte that the driver throws away.
   */
  #listens(): boolean {
    const u32 = this.#s.u32;
    if ((u32[S_MCR]! & MCR_LOOP) !== 0) return false;
    return (
      (u32[S_MCR]! & MCR_RTS) !== 0 ||
      (u32[S_IER]! & IER_ERBFI) !== 0 ||
      u32[S_IDLE_LOOKS]! >= POLLING_LOOKS
    );
  }

  #awaitsInput(): boolean {
    return this.#s.u32[S_RX_COUNT] === 0 && this.#listens() && this.#input.length > 0;
  }

  #receiveBatch(): void {
    this.#s.f64[F_INPUT_AT] = Number.POSITIVE_INFINITY;
    if (!this.#awaitsInput()) return;
    const depth = this.#fifoDepth();
    while (this.#s.u32[S_RX_COUNT]! < depth) {
      const byte = this.#input.shift();
      if (byte < 0) break;
      this.#receive(byte);
    }
    this.#updateIrq();
  }

  /** The next batch comes no sooner than in `wait` nanoseconds. */
  #occupyLine(wait: number): void {
    this.#s.f64[F_LINE_FREE] = this.#clock.now() + wait;
  }

  #fifosEnabled(): boolean {
    return (this.#s.u32[S_FCR]! & FCR_ENABLE) !== 0;
  }

  #fifoDepth(): number {
    return this.#fifosEnabled() ? FIFO_BYTES : 1;
  }

  #triggerLevel(): number {
    return this.#fifosEnabled() ? RX_TRIGGER_LEVELS[this.#s.u32[S_FCR]! >>> 6]! : 1;
  }

  #receive(byte: number): void {
    const { u8, u32 } = this.#s;
    if (u32[S_RX_COUNT]! >= this.#fifoDepth()) {
      u32[S_LSR_ERRORS] = u32[S_LSR_ERRORS]! | LSR_OE;
      // Without FIFOs the new character destroys the old one; a full FIFO keeps its own.
      if (!this.#fifosEnabled()) u8[B_RX_FIFO + u32[S_RX_READ]!] = byte;
      return;
    }
    u8[B_RX_FIFO + ((u32[S_RX_READ]! + u32[S_RX_COUNT]!) % FIFO_BYTES)] = byte;
    u32[S_RX_COUNT] = u32[S_RX_COUNT]! + 1;
    this.#restartTimeout();
  }

  #readReceiver(): number {
    const { u8, u32 } = this.#s;
    const read = u32[S_RX_READ]!;
    const byte = u8[B_RX_FIFO + read]!;
    if (u32[S_RX_COUNT]! > 0) {
      u32[S_RX_READ] = (read + 1) % FIFO_BYTES;
      u32[S_RX_COUNT] = u32[S_RX_COUNT]! - 1;
      if (u32[S_RX_COUNT] === 0) this.#occupyLine(this.#fifoDepth() * NANOSECONDS_PER_INPUT_BYTE);
    }
    u32[S_TIMEOUT_PENDING] = 0;
    this.#restartTimeout();
    this.#updateIrq();
    this.pumpInput();
    return byte;
  }

  /** Four character times without a character in or out, with at least one waiting. */
  #restartTimeout(): void {
    const { u32, f64 } = this.#s;
    if (!this.#fifosEnabled() || u32[S_RX_COUNT] === 0) {
      f64[F_TIMEOUT_AT] = Number.POSITIVE_INFINITY;
      return;
    }
    const lcr = u32[S_LCR]!;
    const bits =
      1 +
      5 +
      (lcr & LCR_WORD_LENGTH) +
      ((lcr & LCR_PEN) !== 0 ? 1 : 0) +
      ((lcr & LCR_STB) !== 0 ? 2 : 1);
    const divisor = Math.max(1, u32[S_DIVISOR]!);
    const wait = TIMEOUT_CHARACTERS * bits * divisor * NANOSECONDS_PER_DIVISOR_BIT;
    f64[F_TIMEOUT_AT] = this.#clock.now() + Math.ceil(wait);
  }

  #transmit(byte: number): void {
    const { u8, u32 } = this.#s;
    const count = u32[S_TX_COUNT]!;
    // Who writes looks at LSR for room.
    if (u32[S_IDLE_LOOKS]! < POLLING_LOOKS) u32[S_IDLE_LOOKS] = 0;
    u32[S_THRE_PENDING] = 0;
    this.#updateIrq();
    if (count < this.#fifoDepth()) {
      u8[B_TX_FIFO + ((u32[S_TX_READ]! + count) % FIFO_BYTES)] = byte;
      u32[S_TX_COUNT] = count + 1;
    } else if (!this.#fifosEnabled()) {
      u8[B_TX_FIFO + u32[S_TX_READ]!] = byte;
    }
    this.#drainTransmitter();
    this.#updateIrq();
  }

  #drainTransmitter(): void {
    const { u8, u32 } = this.#s;
    const loop = (u32[S_MCR]! & MCR_LOOP) !== 0;
    while (u32[S_TX_COUNT]! > 0) {
      const byte = u8[B_TX_FIFO + u32[S_TX_READ]!]!;
      if (loop) this.#receive(byte);
      else if (!this.#output.push(byte)) return;
      u32[S_TX_READ] = (u32[S_TX_READ]! + 1) % FIFO_BYTES;
      u32[S_TX_COUNT] = u32[S_TX_COUNT]! - 1;
    }
    u32[S_THRE_PENDING] = 1;
  }

  #writeInterruptEnable(value: number): void {
    const u32 = this.#s.u32;
    const enabled = value & ~u32[S_IER]!;
    u32[S_IER] = value;
    // A driver clears what is pending by reading, once it has enabled the receiver.
    if ((enabled & IER_ERBFI) !== 0 && u32[S_RX_COUNT] === 0) {
      this.#occupyLine(NANOSECONDS_AFTER_SET_UP);
    }
    if ((enabled & IER_ETBEI) !== 0 && u32[S_TX_COUNT] === 0) u32[S_THRE_PENDING] = 1;
    this.#updateIrq();
    this.pumpInput();
  }

  #writeFifoControl(value: number): void {
    const u32 = this.#s.u32;
    const toggled = ((value ^ u32[S_FCR]!) & FCR_ENABLE) !== 0;
    u32[S_IDLE_LOOKS] = 0;
    // Other bits of FCR are programmed only while bit 0 is written as 1.
    u32[S_FCR] = (value & FCR_ENABLE) !== 0 ? value & FCR_STORED : 0;
    if (toggled || (value & (FCR_ENABLE | FCR_RESET_RX)) === (FCR_ENABLE | FCR_RESET_RX)) {
      u32[S_RX_COUNT] = 0;
      u32[S_TIMEOUT_PENDING] = 0;
      this.#occupyLine(NANOSECONDS_AFTER_SET_UP);
    }
    if (toggled || (value & (FCR_ENABLE | FCR_RESET_TX)) === (FCR_ENABLE | FCR_RESET_TX)) {
      if (u32[S_TX_COUNT]! > 0) u32[S_THRE_PENDING] = 1;
      u32[S_TX_COUNT] = 0;
    }
    this.#restartTimeout();
    this.#updateIrq();
    this.pumpInput();
  }

  /** The upper half of MSR: a terminal that is always ready, or in loopback the modem outputs. */
  #modemLines(): number {
    const mcr = this.#s.u32[S_MCR]!;
    if ((mcr & MCR_LOOP) === 0) return MSR_DCD | MSR_DSR | MSR_CTS;
    return (
      ((mcr & MCR_RTS) !== 0 ? MSR_CTS : 0) |
      ((mcr & MCR_DTR) !== 0 ? MSR_DSR : 0) |
      ((mcr & MCR_OUT1) !== 0 ? MSR_RI : 0) |
      ((mcr & MCR_OUT2) !== 0 ? MSR_DCD : 0)
    );
  }

  #writeModemControl(value: number): void {
    const u32 = this.#s.u32;
    const before = this.#modemLines();
    u32[S_MCR] = value;
    u32[S_IDLE_LOOKS] = 0;
    const after = this.#modemLines();
    let delta = (before ^ after) >>> 4;
    // TERI marks only the end of a ring, not its beginning.
    if ((after & MSR_RI) !== 0) delta &= ~MSR_TERI;
    u32[S_MSR_DELTA] = u32[S_MSR_DELTA]! | delta;
    this.#updateIrq();
    this.pumpInput();
    this.pumpOutput();
  }

  #readLineStatus(): number {
    const u32 = this.#s.u32;
    let value = u32[S_LSR_ERRORS]!;
    if (u32[S_RX_COUNT]! > 0) value |= LSR_DR;
    if (u32[S_TX_COUNT] === 0) value |= LSR_THRE | LSR_TEMT;
    u32[S_LSR_ERRORS] = 0;
    if (value === (LSR_THRE | LSR_TEMT) && u32[S_IDLE_LOOKS]! < POLLING_LOOKS) {
      u32[S_IDLE_LOOKS] = u32[S_IDLE_LOOKS]! + 1;
      this.pumpInput();
    }
    this.#updateIrq();
    return value;
  }

  /** The pending interrupt of highest priority, as IIR bits 0–3. */
  #interruptSource(): number {
    const u32 = this.#s.u32;
    const ier = u32[S_IER]!;
    if ((ier & IER_ELSI) !== 0 && (u32[S_LSR_ERRORS]! & LSR_ERRORS) !== 0) return IIR_LINE_STATUS;
    if ((ier & IER_ERBFI) !== 0) {
      if (u32[S_RX_COUNT]! >= this.#triggerLevel()) return IIR_DATA_AVAILABLE;
      if (u32[S_TIMEOUT_PENDING] !== 0) return IIR_CHARACTER_TIMEOUT;
    }
    if ((ier & IER_ETBEI) !== 0 && u32[S_THRE_PENDING] !== 0) return IIR_THR_EMPTY;
    if ((ier & IER_EDSSI) !== 0 && u32[S_MSR_DELTA] !== 0) return IIR_MODEM_STATUS;
    return IIR_NONE;
  }

  #readInterruptIdentification(): number {
    const source = this.#interruptSource();
    if (source === IIR_THR_EMPTY) {
      this.#s.u32[S_THRE_PENDING] = 0;
      this.#updateIrq();
    }
    return source | (this.#fifosEnabled() ? IIR_FIFOS_ENABLED : 0);
  }

  #updateIrq(): void {
    this.#irq.set(this.#interruptSource() !== IIR_NONE);
  }
}
