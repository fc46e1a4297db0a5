/**
 * The parts list of the system board: which devices there are, where they answer, how their
 * interrupts are wired.
 */
import {
  BOOT_STAGE_PORT,
  GUEST_STATUS_PORT,
  IOAPIC_ADDRESS,
  PM1A_EVENT_PORT,
  SCI_IRQ,
  TIMER_GSI,
} from '../arch/layout.js';
import { PandoError } from '../error.js';
import { ACPI_PM_PORTS, AcpiPm } from './acpi-pm.js';
import { ApicBus } from './apic-bus.js';
import type { BoardOptions } from './board-options.js';
import { BOARD_STATE, DECLARED_STATE_BYTES, MAX_DECLARED_DEVICES } from './board-state.js';
import { MmioBus, PortBus } from './bus.js';
import { ByteRing, RING_HEADER_BYTES } from './byte-ring.js';
import type { DeclaredDevice, DeviceConnections } from './declared-device.js';
import {
  type Device,
  type InterruptLine,
  type StateBlock,
  stateBlock,
  type TimedDevice,
} from './device.js';
import { DeviceMemory } from './device-memory.js';
import { ExternalLines } from './external-lines.js';
import { I8042, I8042_COMMAND_PORT, I8042_DATA_PORT } from './i8042.js';
import { IOAPIC_MMIO_BYTES, IoApic } from './ioapic.js';
import { LocalApic } from './local-apic.js';
import { PIC_ELCR_PORT, PIC_MASTER_PORT, PIC_SLAVE_PORT, Pic8259 } from './pic8259.js';
import { PIT_PORT, Pit8254 } from './pit8254.js';
import { Rate } from './rate.js';
import { RESET_CONTROL_FIRST_PORT, RESET_CONTROL_PORTS, ResetControl } from './reset-control.js';
import { RTC_PORT, Rtc } from './rtc.js';
import { StateLock } from './state-lock.js';
import {
  BootStagePorts,
  DIAGNOSTIC_PORT,
  DiagnosticPort,
  SYSTEM_CONTROL_PORT,
  SystemControl,
} from './system-ports.js';
import { Uart16550 } from './uart16550.js';

/** ISA interrupts. */
const IRQ_TIMER = 0;
const IRQ_SERIAL = 4;
const IRQ_RTC = 8;

/** Inputs of the two 8259A. */
const PIC_INPUTS = 16;

const SERIAL_PORT = 0x3f8;
const DEFAULT_PHYSICAL_ADDRESS_BITS = 40;

/** What devices signal to the board while they run under its lock. */
export interface BoardSignals {
  powerOff(): void;
  resetMachine(): void;
  bootStage(value: number, time: number, port: number): void;
  /** Something that may interrupt a vCPU has changed. */
  changed(vcpu: number): void;
  /** See DeviceConnections. */
  afterwards(call: () => void): void;
  locked(call: () => void): void;
  ring(device: number): void;
}

/** The devices that the board itself deals with, and all of them by what they need. */
export interface BoardDevices {
  readonly ports: PortBus;
  readonly mmio: MmioBus;
  /** In the order in which they are reset. */
  readonly all: readonly Device[];
  readonly timed: readonly TimedDevice[];
  /** By vCPU. */
  readonly apics: readonly LocalApic[];
  /** Missing, and `apics` empty, when the interrupt controllers are outside the board. */
  readonly pic: Pic8259 | undefined;
  /** Carries messages to the local APICs; undefined as `pic`. */
  readonly bus: ApicBus | undefined;
  readonly uart: Uart16550;
  readonly pm: AcpiPm;
  readonly serialInput: ByteRing;
  readonly serialOutput: ByteRing;
  readonly declared: readonly Device[];
  /** Their locks, in the same order. */
  readonly deviceLocks: readonly StateLock[];
  readonly stages: BootStagePorts;
}

/** Constructs and connects every device over the state that `options` names. */
export function assembleDevices(options: BoardOptions, signals: BoardSignals): BoardDevices {
  const { state, byteOffset, clock } = options;
  const ports = new PortBus();
  const mmio = new MmioBus();
  const all: Device[] = [];
  const timed: TimedDevice[] = [];
  const apics: LocalApic[] = [];
  const add = <T extends Device>(device: T): T => {
    all.push(device);
    return device;
  };
  const addTimed = <T extends TimedDevice>(device: T): T => {
    timed.push(device);
    return add(device);
  };
  const ring = (place: { readonly offset: number; readonly bytes: number }): ByteRing =>
    new ByteRing(state, byteOffset + place.offset, place.bytes - RING_HEADER_BYTES);
  const serialInput = ring(BOARD_STATE.serialInput);
  const serialOutput = ring(BOARD_STATE.serialOutput);

  const block = (place: { readonly offset: number; readonly bytes: number }): StateBlock =>
    stateBlock(state, byteOffset + place.offset, place.bytes);
  const { interruptLines } = options;
  let pic: Pic8259 | undefined;
  let bus: ApicBus | undefined;
  let isaLine: (irq: number) => InterruptLine;
  if (interruptLines === undefined) {
    const own = addControllers({ options, signals, block, ports, mmio, apics, add, addTimed });
    pic = own.pic;
    bus = own.bus;
    isaLine = own.isaLine;
  } else {
    const lines = add(new ExternalLines(block(BOARD_STATE.externalLines), interruptLines));
    isaLine = (irq) => ({ set: (level) => lines.set(irq, level) });
  }

  const rtc = addTimed(new Rtc(block(BOARD_STATE.rtc), clock, options.wallClock, isaLine(IRQ_RTC)));
  const uart = addTimed(
    new Uart16550(
      'uart0',
      SERIAL_PORT,
      block(BOARD_STATE.uart0),
      clock,
      isaLine(IRQ_SERIAL),
      serialInput,
      serialOutput,
    ),
  );
  const pm = addTimed(
    new AcpiPm(block(BOARD_STATE.acpiPm), clock, isaLine(SCI_IRQ), signals.powerOff),
  );
  const i8042 = add(new I8042(block(BOARD_STATE.i8042), signals.resetMachine));
  const resetControl = add(new ResetControl(block(BOARD_STATE.resetControl), signals.resetMachine));
  const diagnostic = add(new DiagnosticPort(block(BOARD_STATE.diagnostic)));
  const stages = add(
    new BootStagePorts(block(BOARD_STATE.bootStage), (value, alias) => {
      signals.bootStage(value, clock.now(), BOOT_STAGE_PORT + (alias ? 1 : 0));
    }),
  );

  ports.attach(i8042, I8042_DATA_PORT, 1);
  ports.attach(i8042, I8042_COMMAND_PORT, 1);
  ports.attach(rtc, RTC_PORT, 2);
  ports.attach(diagnostic, DIAGNOSTIC_PORT, 1);
  ports.attach(stages, BOOT_STAGE_PORT, GUEST_STATUS_PORT - BOOT_STAGE_PORT + 1);
  ports.attach(uart, SERIAL_PORT, 8);
  ports.attach(pm, PM1A_EVENT_PORT, ACPI_PM_PORTS, 4);
  ports.attach(resetControl, RESET_CONTROL_FIRST_PORT, RESET_CONTROL_PORTS, 4);

  const declared: Device[] = [];
  const deviceLocks: StateLock[] = [];
  addDeclared(options, signals, isaLine, ({ make, address, length }, connections) => {
    const device = add(make(connections));
    declared.push(device);
    deviceLocks.push(connections.lock);
    mmio.attach(device, address, length);
  });
  return {
    ports,
    mmio,
    all,
    timed,
    apics,
    pic,
    bus,
    uart,
    pm,
    stages,
    serialInput,
    serialOutput,
    declared,
    deviceLocks,
  };
}

/** Makes the devices that the machine has beside those of every board. */
function addDeclared(
  options: BoardOptions,
  signals: BoardSignals,
  line: (gsi: number) => InterruptLine,
  add: (declared: DeclaredDevice, connections: DeviceConnections) => void,
): void {
  const { state, byteOffset, declared = [], memory = new DeviceMemory([]) } = options;
  if (declared.length > MAX_DECLARED_DEVICES) {
    throw new PandoError(
      'DEVICES_TOO_MANY',
      `${declared.length} devices exceed the ${MAX_DECLARED_DEVICES} that a board has room for`,
      { remedy: `give the VM ${MAX_DECLARED_DEVICES} devices or fewer` },
    );
  }
  declared.forEach((device, index) => {
    const offset = byteOffset + BOARD_STATE.declared.offset + index * DECLARED_STATE_BYTES;
    const { deviceLocks } = BOARD_STATE;
    add(device, {
      state: stateBlock(state, offset, DECLARED_STATE_BYTES),
      memory,
      interrupt: line(device.gsi),
      lock: new StateLock(state, byteOffset + deviceLocks.offset + index * deviceLocks.bytes),
      afterwards: signals.afterwards,
      locked: signals.locked,
      ring: () => signals.ring(index),
    });
  });
}

/** What the interrupt controllers are made with: the board under construction. */
interface Assembly {
  readonly options: BoardOptions;
  readonly signals: BoardSignals;
  readonly block: (place: { readonly offset: number; readonly bytes: number }) => StateBlock;
  readonly ports: PortBus;
  readonly mmio: MmioBus;
  readonly apics: LocalApic[];
  readonly add: <T extends Device>(device: T) => T;
  readonly addTimed: <T extends TimedDevice>(device: T) => T;
}

/** I/O APIC, local APICs, 8259A pair, 8254 and port 61h, where it shows. */
function addControllers(assembly: Assembly): {
  pic: Pic8259;
  bus: ApicBus;
  isaLine: (irq: number) => InterruptLine;
} {
  const { options, signals, block, ports, mmio, apics, add, addTimed } = assembly;
  const { state, byteOffset, vcpus, clock } = options;
  const bus = new ApicBus();
  const rate = new Rate(options.tscFrequency);
  const ioapic = add(new IoApic(block(BOARD_STATE.ioapic), bus));
  for (let id = 0; id < vcpus; id += 1) {
    const { offset, bytes } = BOARD_STATE.localApics;
    const apic = new LocalApic(id, stateBlock(state, byteOffset + offset + id * bytes, bytes), {
      clock,
      rate,
      frequency: options.tscFrequency,
      bus,
      physicalAddressBits: options.physicalAddressBits ?? DEFAULT_PHYSICAL_ADDRESS_BITS,
      endOfInterrupt: (vector) => ioapic.endOfInterrupt(vector),
      changed: signals.changed,
    });
    bus.attach(apic);
    apics.push(addTimed(apic));
  }
  const bootstrap = apics[0]!;
  const pic = add(
    new Pic8259(block(BOARD_STATE.pic), { set: (level) => bootstrap.setLint(0, level) }),
  );
  const isaLine = (irq: number): InterruptLine => {
    const pin = irq === IRQ_TIMER ? TIMER_GSI : irq;
    return {
      set: (level) => {
        if (irq < PIC_INPUTS) pic.setLine(irq, level);
        ioapic.setLine(pin, level);
      },
    };
  };
  const pit = addTimed(new Pit8254(block(BOARD_STATE.pit), clock, isaLine(IRQ_TIMER)));
  const control = add(new SystemControl(block(BOARD_STATE.systemControl), clock, pit));
  ports.attach(pic, PIC_MASTER_PORT, 2);
  ports.attach(pic, PIC_SLAVE_PORT, 2);
  ports.attach(pic, PIC_ELCR_PORT, 2);
  ports.attach(pit, PIT_PORT, 4);
  ports.attach(control, SYSTEM_CONTROL_PORT, 1);
  mmio.attach(ioapic, IOAPIC_ADDRESS, IOAPIC_MMIO_BYTES);
  return { pic, bus, isaLine };
}
