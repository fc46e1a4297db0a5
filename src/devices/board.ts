/**
 * The system board: every device of the machine over one slice of shared memory.
 *
 * A Board holds no state that outlives a call, so any number of threads construct their own over the
 * same bytes and take turns under the one lock; each public method takes it once. Hooks are called
 * after the lock is released, on the thread that made the call, and may call the board again.
 */

import type { Clock } from '../arch/clock.js';
import { VM_GENERATION_GPE } from '../arch/layout.js';
import {
  IA32_APIC_BASE,
  IA32_TIME_STAMP_COUNTER,
  IA32_TSC_DEADLINE,
  IA32_X2APIC_FIRST,
  IA32_X2APIC_LAST,
} from '../arch/msr.js';
import { type StatePart, statePart } from '../arch/state-part.js';
import { PandoError } from '../error.js';
import { assembleDevices, type BoardDevices } from './board-devices.js';
import type { BoardHooks, BoardOptions, InterruptLines } from './board-options.js';
import { savedParts } from './board-parts.js';
import { BOARD_STATE, checkStatePlaces, MAX_DECLARED_DEVICES, MAX_VCPUS } from './board-state.js';
import type { ByteRing } from './byte-ring.js';
import type { Device } from './device.js';
import { LOCAL_APIC_MMIO_BYTES } from './local-apic.js';
import { StateLock } from './state-lock.js';

export type { BoardHooks, BoardOptions } from './board-options.js';

export class Board {
  readonly vcpus: number;
  /** Console input: the host's side is its producer. */
  readonly serialInput: ByteRing;
  /** Console output: the host's side is its consumer, and calls `pumpOutput` after reading. */
  readonly serialOutput: ByteRing;
  /** The objects of the declared devices, in their order. */
  readonly declared: readonly Device[];
  readonly #clock: Clock;
  readonly #hooks: BoardHooks;
  readonly #lines: InterruptLines | undefined;
  readonly #lock: StateLock;
  readonly #parts: readonly StatePart[];
  readonly #doorbells: Int32Array;
  readonly #devices: BoardDevices;
  /** What must happen once the lock is released; empty between calls. */
  readonly #changed: Uint8Array;
  #anyChanged = false;
  #afterwards: (() => void)[] = [];

  /**
   * Attaches to the state; whoever creates the machine calls `reset` on the first Board.
   * @throws PandoError BOARD_VCPUS_INVALID, BOARD_STATE_TOO_SMALL, DEVICES_TOO_MANY, MMIO_RANGE_OVERLAP
   */
  constructor(options: BoardOptions) {
    const { state, byteOffset, vcpus, clock } = options;
    if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > MAX_VCPUS) {
      throw new PandoError('BOARD_VCPUS_INVALID', `${vcpus} vCPUs are outside 1–${MAX_VCPUS}`, {
        remedy: `choose 1 to ${MAX_VCPUS} vCPUs`,
      });
    }
    const room = options.room ?? state.byteLength - byteOffset;
    checkStatePlaces(BOARD_STATE, byteOffset % 64 === 0 ? room : 0);
    this.vcpus = vcpus;
    this.#clock = clock;
    this.#hooks = options.hooks ?? {};
    this.#changed = new Uint8Array(vcpus);
    this.#lines = options.interruptLines;
    this.#lock = new StateLock(state, byteOffset + BOARD_STATE.lock.offset);
    this.#parts = savedParts(options);
    this.#doorbells = new Int32Array(
      state,
      byteOffset + BOARD_STATE.doorbells.offset,
      MAX_DECLARED_DEVICES,
    );
    this.#devices = assembleDevices(options, {
      powerOff: () => this.#afterwards.push(() => this.#hooks.onPowerOff?.()),
      resetMachine: () => this.#afterwards.push(() => this.#hooks.onReset?.()),
      bootStage: (value, time, port) =>
        this.#afterwards.push(() => this.#hooks.onBootStage?.(value, time, port)),
      changed: (vcpu) => this.#change(vcpu),
      afterwards: (call) => this.#afterwards.push(call),
      locked: (call) => this.#locked(call),
      ring: (device) => this.#ring(device),
    });
    this.serialInput = this.#devices.serialInput;
    this.serialOutput = this.#devices.serialOutput;
    this.declared = this.#devices.declared;
  }

  /** What the guest said that its program ended with, 0 to 255; undefined when it said nothing. */
  get guestStatus(): number | undefined {
    return this.#devices.stages.status;
  }

  /** Power-on or reset of all devices, with the APICs in virtual wire mode as firmware leaves them. */
  reset(): void {
    this.#locked(() => {
      for (const device of this.#devices.all) device.reset();
      this.#devices.apics[0]?.configureVirtualWire();
    });
  }

  /** @param size 1, 2 or 4 bytes */
  portIn(port: number, size: number): number {
    return this.#locked(() => {
      return this.#devices.ports.read(port, size);
    });
  }

  /** @param size 1, 2 or 4 bytes */
  portOut(port: number, size: number, value: number): void {
    this.#locked(() => {
      this.#devices.ports.write(port, size, value);
    });
  }

  /**
   * A read of memory that is not RAM; an 8-byte one is two of 4, low address first.
   * @param vcpu whose local APIC it sees
   * @param size 1, 2 or 4 bytes
   */
  mmioRead(vcpu: number, gpa: number, size: number): number {
    return this.#locked(() => {
      const apic = this.#devices.apics[vcpu];
      const base = apic?.mmioBase ?? -1;
      if (apic !== undefined && base >= 0 && gpa >= base && gpa < base + LOCAL_APIC_MMIO_BYTES) {
        return apic.readMmio(gpa - base, size);
      }
      return this.#devices.mmio.read(gpa, size);
    });
  }

  /** @param size 1, 2 or 4 bytes */
  mmioWrite(vcpu: number, gpa: number, size: number, value: number): void {
    this.#locked(() => {
      const apic = this.#devices.apics[vcpu];
      const base = apic?.mmioBase ?? -1;
      if (apic !== undefined && base >= 0 && gpa >= base && gpa < base + LOCAL_APIC_MMIO_BYTES) {
        apic.writeMmio(gpa - base, size, value >>> 0);
      } else {
        this.#devices.mmio.write(gpa, size, value);
      }
    });
  }

  /** IA32_APIC_BASE, IA32_TSC_DEADLINE, the time-stamp counter, x2APIC; undefined means #GP. */
  readMsr(vcpu: number, index: number): bigint | undefined {
    return this.#locked(() => {
      const apic = this.#devices.apics[vcpu];
      if (apic === undefined) return undefined;
      if (index === IA32_APIC_BASE) return apic.base;
      if (index === IA32_TSC_DEADLINE) return apic.timeStampDeadline;
      if (index === IA32_TIME_STAMP_COUNTER) return apic.timer.timeStamp(this.#clock.now());
      if (index >= IA32_X2APIC_FIRST && index <= IA32_X2APIC_LAST) return apic.readMsr(index);
      return undefined;
    });
  }

  /** Writes one of the same MSRs; false means #GP. */
  writeMsr(vcpu: number, index: number, value: bigint): boolean {
    return this.#locked(() => {
      const apic = this.#devices.apics[vcpu];
      if (apic === undefined) return false;
      if (index === IA32_APIC_BASE) return apic.setBase(value);
      if (index === IA32_TSC_DEADLINE) {
        apic.setTimeStampDeadline(value);
        return true;
      }
      if (index === IA32_TIME_STAMP_COUNTER) {
        apic.setTimeStamp(value);
        return true;
      }
      if (index >= IA32_X2APIC_FIRST && index <= IA32_X2APIC_LAST) {
        return apic.writeMsr(index, value);
      }
      return false;
    });
  }

  /** What RDTSC of a vCPU adds to the machine's counter, modulo 2^64. */
  timeStampOffset(vcpu: number): bigint {
    return this.#devices.apics[vcpu]!.timer.timeStampOffset;
  }

  /** CR8: the task priority class, 0–15. */
  readCr8(vcpu: number): number {
    return this.#devices.apics[vcpu]!.taskPriority >>> 4;
  }

  writeCr8(vcpu: number, value: number): void {
    this.#locked(() => {
      this.#devices.apics[vcpu]!.taskPriority = (value & 15) << 4;
    });
  }

  /** The vector a vCPU would take now were its interrupts enabled, or -1. */
  pendingVector(vcpu: number): number {
    return this.#locked(() => {
      return this.#pendingVector(vcpu);
    });
  }

  /** Takes that interrupt and returns its vector; -1 when it was withdrawn in between. */
  acknowledge(vcpu: number): number {
    return this.#locked(() => {
      const apic = this.#devices.apics[vcpu]!;
      if (this.#hasExtInt(vcpu)) return this.#devices.pic!.acknowledge();
      const vector = apic.pendingVector();
      if (vector >= 0) apic.acknowledge(vector);
      return vector;
    });
  }

  /** Whether an NMI waits. */
  pendingNmi(vcpu: number): boolean {
    return this.#devices.apics[vcpu]!.pendingNmi;
  }

  /** Takes the NMI; false when there was none. */
  takeNmi(vcpu: number): boolean {
    return this.#locked(() => this.#devices.apics[vcpu]!.takeNmi());
  }

  /** Takes an INIT; false when there was none. */
  takeInit(vcpu: number): boolean {
    return this.#locked(() => this.#devices.apics[vcpu]!.takeInit());
  }

  /** Takes a start-up IPI and returns its vector (the vCPU starts at vector << 12), or -1. */
  takeSipi(vcpu: number): number {
    return this.#locked(() => this.#devices.apics[vcpu]!.takeSipi());
  }

  /** Whether a vCPU sleeps until a start-up IPI, as all but the first do after a reset. */
  waitsForSipi(vcpu: number): boolean {
    return this.#devices.apics[vcpu]!.waitsForSipi;
  }

  /** When `advance` must next be called, in guest nanoseconds; Infinity for never. */
  nextDeadline(): number {
    return this.#locked(() => {
      let earliest = Number.POSITIVE_INFINITY;
      for (let i = 0; i < this.#devices.timed.length; i += 1) {
        const deadline = this.#devices.timed[i]!.deadline();
        if (deadline < earliest) earliest = deadline;
      }
      return earliest;
    });
  }

  /** Lets everything happen that is due by `now`. */
  advance(now: number): void {
    this.#locked(() => {
      for (let i = 0; i < this.#devices.timed.length; i += 1) {
        const device = this.#devices.timed[i]!;
        if (device.deadline() <= now) device.expire(now);
      }
    });
  }

  /** Takes console input from the ring, after the host has put some in. */
  pumpInput(): void {
    this.#locked(() => {
      this.#devices.uart.pumpInput();
    });
  }

  /**
   * Whether a transmitter found the ring full. Asked after the host has taken something out, false means that
   * the guest sees the room by itself.
   */
  transmitterWaits(): boolean {
    return this.#locked(() => this.#devices.uart.transmitterWaits);
  }

  /** Lets a transmitter that found the ring full go on, after the host has taken some out. */
  pumpOutput(): void {
    this.#locked(() => {
      this.#devices.uart.pumpOutput();
    });
  }

  /** The power button: asks the guest to shut down. */
  pressPowerButton(): void {
    this.#locked(() => {
      this.#devices.pm.pressPowerButton();
    });
  }

  /** Tells the guest that its generation ID is another (boot/acpi/vm-generation-id.ts). */
  generationChanged(): void {
    this.#locked(() => {
      this.#devices.pm.raiseEvent(VM_GENERATION_GPE);
    });
  }

  /** The NMI button: LINT1 of every vCPU whose local APIC is the board's. */
  injectNmi(): void {
    this.#locked(() => {
      for (const apic of this.#devices.apics) {
        apic.setLint(1, true);
        apic.setLint(1, false);
      }
    });
  }

  /** An interrupt message of a device (Intel SDM vol. 3A, 11.11); from any thread. */
  message(address: bigint, data: number): void {
    this.#locked(() => {
      if (this.#devices.bus === undefined) this.#lines?.message(address, data);
      else this.#devices.bus.sendMessage(address, data);
    });
  }

  /**
   * The host end of a declared device takes its call, and looks at everything that waits: a call after
   * this comes anew.
   * @returns whether it had been called
   */
  takeDoorbell(device: number): boolean {
    return Atomics.exchange(this.#doorbells, device, 0) !== 0;
  }

  /** The state of all devices, by name; no vCPU runs. */
  save(): StatePart[] {
    return this.#locked(() =>
      this.#parts.map(({ name, version, bytes }) => ({ name, version, bytes: bytes.slice() })),
    );
  }

  /**
   * Puts a saved state in the place of this board's, of a machine with the same devices. No vCPU runs.
   * @throws PandoError STATE_PART_MISSING, STATE_PART_VERSION, STATE_PART_SIZE; nothing is changed then
   */
  restore(saved: readonly StatePart[]): void {
    const news = this.#parts.map(({ name, version, bytes }) =>
      statePart(saved, name, { version, bytes: bytes.length }),
    );
    this.#locked(() => {
      this.#parts.forEach(({ bytes }, index) => {
        bytes.set(news[index]!);
      });
      for (let vcpu = 0; vcpu < this.#devices.apics.length; vcpu += 1) this.#change(vcpu);
    });
  }

  /** The thread that held the locks has died: nobody waits for it. The devices may be half-changed. */
  abandonLock(): void {
    this.#lock.abandon();
    for (const lock of this.#devices.deviceLocks) lock.abandon();
  }

  #hasExtInt(vcpu: number): boolean {
    return vcpu === 0 && this.#devices.pic!.requesting && this.#devices.apics[0]!.acceptsExtInt;
  }

  #pendingVector(vcpu: number): number {
    return this.#hasExtInt(vcpu)
      ? this.#devices.pic!.peek()
      : this.#devices.apics[vcpu]!.pendingVector();
  }

  /** Runs `body` under the lock; what it caused outside the board happens after that. */
  #locked<T>(body: () => T): T {
    this.#lock.acquire();
    try {
      return body();
    } finally {
      this.#leave();
    }
  }

  #change(vcpu: number): void {
    this.#changed[vcpu] = 1;
    this.#anyChanged = true;
  }

  #ring(device: number): void {
    if (Atomics.exchange(this.#doorbells, device, 1) !== 0) return;
    this.#hooks.onDoorbell?.(device);
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
        if (this.#devices.apics[vcpu]!.signalled || this.#pendingVector(vcpu) >= 0)
          woken.push(vcpu);
      }
    }
    const calls = this.#afterwards;
    this.#afterwards = [];
    this.#lock.release();
    for (const vcpu of woken) this.#hooks.wake?.(vcpu);
    for (const call of calls) call();
  }
}
