/**
 * The system board: every device of the machine over one slice of shared memory.
 *
 * A Board holds no state that outlives a call, so any number of threads construct their own over the
 * same bytes and take turns under the one lock; each public method takes it once. Hooks are called
 * after the lock is released, on the thread that made the call, and may call the board again.
 */
import {
  BOOT_STAGE_PORT,
  IOAPIC_ADDRESS,
  PM1A_EVENT_PORT,
  RESET_CONTROL_PORT,
  SCI_IRQ,
  TIMER_GSI,
} from "../arch/layout.js";
import {
  IA32_APIC_BASE,
  IA32_TIME_STAMP_COUNTER,
  IA32_TSC_DEADLINE,
  IA32_X2APIC_FIRST,
  IA32_X2APIC_LAST,
} from "../arch/msr.js";
import { PandoError } from "../error.js";
import { ACPI_PM_PORTS, AcpiPm, ResetControl } from "./acpi-pm.js";
import { ApicBus } from "./apic-bus.js";
import { BOARD_STATE, BOARD_TOTAL_BYTES, MAX_VCPUS, SERIAL_RINGS } from "./board-state.js";
import { MmioBus, PortBus } from "./bus.js";
import { ByteRing } from "./byte-ring.js";
import {
  type Clock,
  type Device,
  type InterruptLine,
  type StateBlock,
  stateBlock,
  type TimedDevice,
} from "./device.js";
import { I8042, I8042_COMMAND_PORT, I8042_DATA_PORT } from "./i8042.js";
import { IOAPIC_MMIO_BYTES, IoApic } from "./ioapic.js";
import { LOCAL_APIC_MMIO_BYTES, LocalApic } from "./local-apic.js";
import { PIC_ELCR_PORT, PIC_MASTER_PORT, PIC_SLAVE_PORT, Pic8259 } from "./pic8259.js";
import { PIT_PORT, Pit8254 } from "./pit8254.js";
import { Rate } from "./rate.js";
import { RTC_PORT, Rtc, type WallClock } from "./rtc.js";
import { StateLock } from "./state-lock.js";
import {
  BootStagePorts,
  DIAGNOSTIC_PORT,
  DiagnosticPort,
  SYSTEM_CONTROL_PORT,
  SystemControl,
} from "./system-ports.js";
import { Uart16550 } from "./uart16550.js";

/** ISA interrupts. */
const IRQ_TIMER = 0;
const IRQ_SERIAL = 4;
const IRQ_RTC = 8;

const SERIAL_PORT = 0x3f8;
const DEFAULT_PHYSICAL_ADDRESS_BITS = 40;

/** What the board tells the machine; all optional. */
export interface BoardHooks {
  /** The guest switched the machine off (S5). */
  onPowerOff?(): void;
  /** The guest asked for a reset; the machine stops its vCPUs, then calls `reset`. */
  onReset?(): void;
  /** The guest wrote to a boot-stage port; `time` is guest nanoseconds. */
  onBootStage?(value: number, time: number, port: number): void;
  /** A vCPU has an interrupt, NMI, INIT or SIPI to take, or must look again. */
  wake?(vcpu: number): void;
}

export interface BoardOptions {
  /** At `byteOffset` (a multiple of 64), BOARD_TOTAL_BYTES bytes that start as zeros. */
  readonly state: SharedArrayBuffer;
  readonly byteOffset: number;
  /** 1 to MAX_VCPUS. */
  readonly vcpus: number;
  readonly clock: Clock;
  /** Hertz of the time-stamp counter, which counts from guest time 0. */
  readonly tscFrequency: number;
  readonly wallClock: WallClock;
  /** Width of guest physical addresses; 40 when missing. */
  readonly physicalAddressBits?: number;
  readonly hooks?: BoardHooks;
}

export class Board {
  readonly vcpus: number;
  /** Console input: the host's side is its producer. */
  readonly serialInput: ByteRing;
  /** Console output: the host's side is its consumer, and calls `pumpOutput` after reading. */
  readonly serialOutput: ByteRing;
  readonly #clock: Clock;
  readonly #hooks: BoardHooks;
  readonly #lock: StateLock;
  readonly #ports = new PortBus();
  readonly #mmio = new MmioBus();
  readonly #devices: Device[] = [];
  readonly #timed: TimedDevice[] = [];
  readonly #apics: LocalApic[] = [];
  readonly #pic: Pic8259;
  readonly #ioapic: IoApic;
  readonly #uart: Uart16550;
  readonly #pm: AcpiPm;
  /** What must happen once the lock is released; empty between calls. */
  readonly #changed: Uint8Array;
  #anyChanged = false;
  #afterwards: (() => void)[] = [];

  /**
   * Attaches to the state; whoever creates the machine calls `reset` on the first Board.
   * @throws PandoError BOARD_VCPUS_INVALID or BOARD_STATE_TOO_SMALL
   */
  constructor(options: BoardOptions) {
    const { state, byteOffset, vcpus, clock } = options;
    if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > MAX_VCPUS) {
      throw new PandoError("BOARD_VCPUS_INVALID", `${vcpus} vCPUs are outside 1–${MAX_VCPUS}`, {
        remedy: `choose 1 to ${MAX_VCPUS} vCPUs`,
      });
    }
    if (byteOffset % 64 !== 0 || byteOffset + BOARD_TOTAL_BYTES > state.byteLength) {
      throw new PandoError(
        "BOARD_STATE_TOO_SMALL",
        `board state of ${BOARD_TOTAL_BYTES} bytes at offset ${byteOffset} does not fit ${state.byteLength} bytes at a multiple of 64`,
        { remedy: "reserve BOARD_TOTAL_BYTES for the board" },
      );
    }
    this.vcpus = vcpus;
    this.#clock = clock;
    this.#hooks = options.hooks ?? {};
    this.#changed = new Uint8Array(vcpus);
    this.#lock = new StateLock(state, byteOffset + BOARD_STATE.lock.offset);
    const { input, output } = SERIAL_RINGS;
    this.serialInput = new ByteRing(state, byteOffset + input.offset, input.capacity);
    this.serialOutput = new ByteRing(state, byteOffset + output.offset, output.capacity);

    const block = (place: { readonly offset: number; readonly bytes: number }): StateBlock =>
      stateBlock(state, byteOffset + place.offset, place.bytes);
    const bus = new ApicBus();
    const rate = new Rate(options.tscFrequency);
    this.#ioapic = this.#add(new IoApic(block(BOARD_STATE.ioapic), bus));
    for (let id = 0; id < vcpus; id += 1) {
      const { offset, bytes } = BOARD_STATE.localApics;
      const apic = new LocalApic(id, stateBlock(state, byteOffset + offset + id * bytes, bytes), {
        clock,
        rate,
        frequency: options.tscFrequency,
        bus,
        physicalAddressBits: options.physicalAddressBits ?? DEFAULT_PHYSICAL_ADDRESS_BITS,
        endOfInterrupt: (vector) => this.#ioapic.endOfInterrupt(vector),
        changed: (vcpu) => this.#markChanged(vcpu),
      });
      bus.attach(apic);
      this.#apics.push(this.#addTimed(apic));
    }
    const bootstrap = this.#apics[0]!;
    this.#pic = this.#add(
      new Pic8259(block(BOARD_STATE.pic), { set: (level) => bootstrap.setLint(0, level) }),
    );

    const pit = this.#addTimed(
      new Pit8254(block(BOARD_STATE.pit), clock, this.#isaLine(IRQ_TIMER)),
    );
    const rtc = this.#addTimed(
      new Rtc(block(BOARD_STATE.rtc), clock, options.wallClock, this.#isaLine(IRQ_RTC)),
    );
    this.#uart = this.#addTimed(
      new Uart16550(
        "uart0",
        SERIAL_PORT,
        block(BOARD_STATE.uart0),
        clock,
        this.#isaLine(IRQ_SERIAL),
        this.serialInput,
        this.serialOutput,
      ),
    );
    const powerOff = (): void => this.#after(() => this.#hooks.onPowerOff?.());
    const resetMachine = (): void => this.#after(() => this.#hooks.onReset?.());
    this.#pm = this.#addTimed(
      new AcpiPm(block(BOARD_STATE.acpiPm), clock, this.#isaLine(SCI_IRQ), powerOff),
    );
    const i8042 = this.#add(new I8042(block(BOARD_STATE.i8042), resetMachine));
    const resetControl = this.#add(new ResetControl(block(BOARD_STATE.resetControl), resetMachine));
    const control = this.#add(new SystemControl(block(BOARD_STATE.systemControl), clock, pit));
    const diagnostic = this.#add(new DiagnosticPort(block(BOARD_STATE.diagnostic)));
    const stages = this.#add(
      new BootStagePorts(block(BOARD_STATE.bootStage), (value, alias) => {
        const time = clock.now();
        const port = BOOT_STAGE_PORT + (alias ? 1 : 0);
        this.#after(() => this.#hooks.onBootStage?.(value, time, port));
      }),
    );

    this.#ports.attach(this.#pic, PIC_MASTER_PORT, 2);
    this.#ports.attach(this.#pic, PIC_SLAVE_PORT, 2);
    this.#ports.attach(this.#pic, PIC_ELCR_PORT, 2);
    this.#ports.attach(pit, PIT_PORT, 4);
    this.#ports.attach(i8042, I8042_DATA_PORT, 1);
    this.#ports.attach(control, SYSTEM_CONTROL_PORT, 1);
    this.#ports.attach(i8042, I8042_COMMAND_PORT, 1);
    this.#ports.attach(rtc, RTC_PORT, 2);
    this.#ports.attach(diagnostic, DIAGNOSTIC_PORT, 1);
    this.#ports.attach(stages, BOOT_STAGE_PORT, 2);
    this.#ports.attach(this.#uart, SERIAL_PORT, 8);
    this.#ports.attach(this.#pm, PM1A_EVENT_PORT, ACPI_PM_PORTS, 4);
    this.#ports.attach(resetControl, RESET_CONTROL_PORT, 1);
    this.#mmio.attach(this.#ioapic, IOAPIC_ADDRESS, IOAPIC_MMIO_BYTES);
  }

  /** Power-on or reset of all devices, with the APICs in virtual wire mode as firmware leaves them. */
  reset(): void {
    this.#enter();
    try {
      for (const device of this.#devices) device.reset();
      this.#apics[0]!.configureVirtualWire();
    } finally {
      this.#leave();
    }
  }

  /** @param size 1, 2 or 4 bytes */
  portIn(port: number, size: number): number {
    this.#enter();
    try {
      return this.#ports.read(port, size);
    } finally {
      this.#leave();
    }
  }

  /** @param size 1, 2 or 4 bytes */
  portOut(port: number, size: number, value: number): void {
    this.#enter();
    try {
      this.#ports.write(port, size, value);
    } finally {
      this.#leave();
    }
  }

  /**
   * A read of memory that is not RAM; an 8-byte one is two of 4, low address first.
   * @param vcpu whose local APIC it sees
   * @param size 1, 2 or 4 bytes
   */
  mmioRead(vcpu: number, gpa: number, size: number): number {
    this.#enter();
    try {
      const apic = this.#apics[vcpu]!;
      const base = apic.mmioBase;
      if (base >= 0 && gpa >= base && gpa < base + LOCAL_APIC_MMIO_BYTES) {
        return apic.readMmio(gpa - base, size);
      }
      return this.#mmio.read(gpa, size);
    } finally {
      this.#leave();
    }
  }

  /** @param size 1, 2 or 4 bytes */
  mmioWrite(vcpu: number, gpa: number, size: number, value: number): void {
    this.#enter();
    try {
      const apic = this.#apics[vcpu]!;
      const base = apic.mmioBase;
      if (base >= 0 && gpa >= base && gpa < base + LOCAL_APIC_MMIO_BYTES) {
        apic.writeMmio(gpa - base, size, value >>> 0);
      } else {
        this.#mmio.write(gpa, size, value);
      }
    } finally {
      this.#leave();
    }
  }

  /** IA32_APIC_BASE, IA32_TSC_DEADLINE, the time-stamp counter, x2APIC; undefined means #GP. */
  readMsr(vcpu: number, index: number): bigint | undefined {
    this.#enter();
    try {
      const apic = this.#apics[vcpu]!;
      if (index === IA32_APIC_BASE) return apic.base;
      if (index === IA32_TSC_DEADLINE) return apic.timer.timeStampDeadline;
      if (index === IA32_TIME_STAMP_COUNTER) return apic.timer.timeStamp(this.#clock.now());
      if (index >= IA32_X2APIC_FIRST && index <= IA32_X2APIC_LAST) return apic.readMsr(index);
      return undefined;
    } finally {
      this.#leave();
    }
  }

  /** Writes one of the same MSRs; false means #GP. */
  writeMsr(vcpu: number, index: number, value: bigint): boolean {
    this.#enter();
    try {
      const apic = this.#apics[vcpu]!;
      if (index === IA32_APIC_BASE) return apic.setBase(value);
      if (index === IA32_TSC_DEADLINE) {
        apic.setTimeStampDeadline(value);
        return true;
      }
      if (index === IA32_TIME_STAMP_COUNTER) {
        apic.timer.setTimeStamp(value, this.#clock.now());
        return true;
      }
      if (index >= IA32_X2APIC_FIRST && index <= IA32_X2APIC_LAST) {
        return apic.writeMsr(index, value);
      }
      return false;
    } finally {
      this.#leave();
    }
  }

  /** What RDTSC of a vCPU adds to the machine's counter, modulo 2^64. */
  timeStampOffset(vcpu: number): bigint {
    return this.#apics[vcpu]!.timer.timeStampOffset;
  }

  /** CR8: the task priority class, 0–15. */
  readCr8(vcpu: number): number {
    return this.#apics[vcpu]!.taskPriority >>> 4;
  }

  writeCr8(vcpu: number, value: number): void {
    this.#enter();
    this.#apics[vcpu]!.taskPriority = (value & 15) << 4;
    this.#leave();
  }

  /** The vector a vCPU would take now were its interrupts enabled, or -1. */
  pendingVector(vcpu: number): number {
    this.#enter();
    try {
      return this.#pendingVector(vcpu);
    } finally {
      this.#leave();
    }
  }

  /** Takes that interrupt and returns its vector; -1 when it was withdrawn in between. */
  acknowledge(vcpu: number): number {
    this.#enter();
    try {
      const apic = this.#apics[vcpu]!;
      if (this.#hasExtInt(vcpu)) return this.#pic.acknowledge();
      const vector = apic.pendingVector();
      if (vector >= 0) apic.acknowledge(vector);
      return vector;
    } finally {
      this.#leave();
    }
  }

  /** Whether an NMI waits. */
  pendingNmi(vcpu: number): boolean {
    return this.#apics[vcpu]!.pendingNmi;
  }

  /** Takes the NMI; false when there was none. */
  takeNmi(vcpu: number): boolean {
    this.#enter();
    const taken = this.#apics[vcpu]!.takeNmi();
    this.#leave();
    return taken;
  }

  /** Takes an INIT; false when there was none. */
  takeInit(vcpu: number): boolean {
    this.#enter();
    const taken = this.#apics[vcpu]!.takeInit();
    this.#leave();
    return taken;
  }

  /** Takes a start-up IPI and returns its vector (the vCPU starts at vector << 12), or -1. */
  takeSipi(vcpu: number): number {
    this.#enter();
    const vector = this.#apics[vcpu]!.takeSipi();
    this.#leave();
    return vector;
  }

  /** Whether a vCPU sleeps until a start-up IPI, as all but the first do after a reset. */
  waitsForSipi(vcpu: number): boolean {
    return this.#apics[vcpu]!.waitsForSipi;
  }

  /** When `advance` must next be called, in guest nanoseconds; Infinity for never. */
  nextDeadline(): number {
    this.#enter();
    let earliest = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.#timed.length; i += 1) {
      const deadline = this.#timed[i]!.deadline();
      if (deadline < earliest) earliest = deadline;
    }
    this.#leave();
    return earliest;
  }

  /** Lets everything happen that is due by `now`. */
  advance(now: number): void {
    this.#enter();
    try {
      for (let i = 0; i < this.#timed.length; i += 1) {
        const device = this.#timed[i]!;
        if (device.deadline() <= now) device.expire(now);
      }
    } finally {
      this.#leave();
    }
  }

  /** Takes console input from the ring, after the host has put some in. */
  pumpInput(): void {
    this.#enter();
    try {
      this.#uart.pumpInput();
    } finally {
      this.#leave();
    }
  }

  /** Lets a transmitter that found the ring full go on, after the host has taken some out. */
  pumpOutput(): void {
    this.#enter();
    try {
      this.#uart.pumpOutput();
    } finally {
      this.#leave();
    }
  }

  /** The power button: asks the guest to shut down. */
  pressPowerButton(): void {
    this.#enter();
    try {
      this.#pm.pressPowerButton();
    } finally {
      this.#leave();
    }
  }

  /** The NMI button: LINT1 of every vCPU. */
  injectNmi(): void {
    this.#enter();
    for (const apic of this.#apics) {
      apic.setLint(1, true);
      apic.setLint(1, false);
    }
    this.#leave();
  }

  #add<T extends Device>(device: T): T {
    this.#devices.push(device);
    return device;
  }

  #addTimed<T extends TimedDevice>(device: T): T {
    this.#timed.push(device);
    return this.#add(device);
  }

  /** An ISA interrupt: wired to the 8259As and to the I/O APIC. */
  #isaLine(irq: number): InterruptLine {
    const pin = irq === IRQ_TIMER ? TIMER_GSI : irq;
    return {
      set: (level) => {
        this.#pic.setLine(irq, level);
        this.#ioapic.setLine(pin, level);
      },
    };
  }

  #hasExtInt(vcpu: number): boolean {
    return vcpu === 0 && this.#pic.requesting && this.#apics[0]!.acceptsExtInt;
  }

  #pendingVector(vcpu: number): number {
    return this.#hasExtInt(vcpu) ? this.#pic.peek() : this.#apics[vcpu]!.pendingVector();
  }

  #markChanged(vcpu: number): void {
    this.#changed[vcpu] = 1;
    this.#anyChanged = true;
  }

  #after(call: () => void): void {
    this.#afterwards.push(call);
  }

  #enter(): void {
    this.#lock.acquire();
  }

  /** Releases the lock, then tells the machine what has happened. */
  #leave(): void {
    if (!this.#anyChanged && this.#afterwards.length === 0) {
      this.#lock.release();
      return;
    }
    const woken: number[] = [];
    if (this.#anyChanged) {
      this.#anyChanged = false;
      for (let vcpu = 0; vcpu < this.vcpus; vcpu += 1) {
        if (this.#changed[vcpu] === 0) continue;
        this.#changed[vcpu] = 0;
        if (this.#apics[vcpu]!.signalled || this.#pendingVector(vcpu) >= 0) woken.push(vcpu);
      }
    }
    const calls = this.#afterwards;
    this.#afterwards = [];
    this.#lock.release();
    for (const vcpu of woken) this.#hooks.wake?.(vcpu);
    for (const call of calls) call();
  }
}
