/**
 * A VM of KVM: memory slots, interrupt controllers and interval timer in the kernel, interrupt lines,
 * the guest's clock. KVM API documentation, sections 4.24 to 4.30, 4.35, 4.52, 4.59, 4.71.
 */
import { close, closeSync } from 'node:fs';
import { HIGH_MEMORY_START, LOW_MEMORY_LIMIT, TIMER_GSI } from '../../arch/layout.js';
import { ioctlBytes } from '../../host/ioctl.js';
import { KVM, STRUCT, VALUE } from './api.js';
import { type KvmSystem, kvmFailure, kvmStruct, kvmValue } from './system.js';

/** Where KVM on Intel processors keeps three pages of its own: below the firmware's place, 4 GiB. */
const TSS_ADDRESS = 0xfffbd000;
/** Inputs of the two 8259A, and of the I/O APIC. */
const PIC_INPUTS = 16;
const IOAPIC_INPUTS = 24;
const IRQCHIPS = [
  VALUE.KVM_IRQCHIP_PIC_MASTER,
  VALUE.KVM_IRQCHIP_PIC_SLAVE,
  VALUE.KVM_IRQCHIP_IOAPIC,
] as const;

/** A run of guest RAM and the host memory that it is. */
export interface MemorySlot {
  readonly guestAddress: number;
  readonly hostAddress: bigint;
  /** Bytes, a multiple of the page size. */
  readonly length: number;
}

/**
 * The slots of guest RAM that is one run of host memory: the part below the hole for devices, and
 * what lies from 4 GiB on.
 */
export function memorySlots(hostAddress: bigint, ramBytes: number): MemorySlot[] {
  const low = Math.min(ramBytes, LOW_MEMORY_LIMIT);
  const slots: MemorySlot[] = [{ guestAddress: 0, hostAddress, length: low }];
  if (ramBytes > low) {
    slots.push({
      guestAddress: HIGH_MEMORY_START,
      hostAddress: hostAddress + BigInt(low),
      length: ramBytes - low,
    });
  }
  return slots;
}

/** Asserts or releases an input of the interrupt controllers; any thread of the process may. */
export class KvmIrqLines {
  readonly #fd: number;
  readonly #bytes = new Uint8Array(STRUCT.kvm_irq_level.size);
  readonly #words = new Uint32Array(this.#bytes.buffer);

  /** @param fd of the VM */
  constructor(fd: number) {
    this.#fd = fd;
  }

  set(gsi: number, level: boolean): void {
    this.#words[STRUCT.kvm_irq_level.irq / 4] = gsi;
    this.#words[STRUCT.kvm_irq_level.level / 4] = level ? 1 : 0;
    const result = ioctlBytes(this.#fd, KVM.KVM_IRQ_LINE, this.#bytes);
    if (result < 0) throw kvmFailure('KVM_IRQ_LINE', result, `input ${gsi}`);
  }

  /** A message to the local APICs; one that no vCPU takes is lost, as on hardware. */
  message(address: bigint, data: number): void {
    const { size, address_lo, address_hi, data: at } = STRUCT.kvm_msi;
    const bytes = new Uint8Array(size);
    const view = new DataView(bytes.buffer);
    view.setUint32(address_lo, Number(address & 0xffffffffn), true);
    view.setUint32(address_hi, Number(address >> 32n), true);
    view.setUint32(at, data, true);
    kvmStruct(this.#fd, 'KVM_SIGNAL_MSI', bytes);
  }
}

/** Where an ioeventfd listens. */
export interface DoorbellAddress {
  readonly space: 'port' | 'mmio';
  readonly address: number;
  /** Bytes of the write: 1, 2, 4 or 8; 0 for any. */
  readonly length: number;
  /** Only writes of this value. */
  readonly value?: bigint;
}

/** What the kernel keeps of a VM beside its vCPUs. */
export interface SavedMachine {
  readonly parts: readonly {
    readonly request: 'KVM_SET_IRQCHIP' | 'KVM_SET_PIT2';
    readonly bytes: Uint8Array;
  }[];
  /** The paravirtual clock in nanoseconds. */
  readonly clock: bigint;
}

export class KvmVm {
  readonly fd: number;
  readonly #initial: SavedMachine;

  /**
   * A VM with its RAM, interrupt controllers and timer. The caller closes it. RAM comes first: for every
   * change of its slots the kernel waits until nobody uses the old table (SRCU), which takes one or two
   * of its ticks, 4 to 11 ms, once there are devices on the VM's bus, and next to nothing before.
   */
  constructor(system: KvmSystem, slots: readonly MemorySlot[]) {
    this.fd = kvmValue(system.fd, 'KVM_CREATE_VM');
    try {
      this.#setMemory(slots);
      kvmValue(this.fd, 'KVM_SET_TSS_ADDR', TSS_ADDRESS);
      kvmValue(this.fd, 'KVM_CREATE_IRQCHIP');
      const pit = new Uint8Array(STRUCT.kvm_pit_config.size);
      // The kernel answers port 61h too: timer 2's gate and output are there.
      new DataView(pit.buffer).setUint32(0, VALUE.KVM_PIT_SPEAKER_DUMMY, true);
      kvmStruct(this.fd, 'KVM_CREATE_PIT2', pit);
      this.#route();
      this.#initial = { ...this.save(), clock: 0n };
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Inputs as the MADT describes them: the timer's I/O APIC input is not its 8259A's. */
  #route(): void {
    const { kvm_irq_routing: head, kvm_irq_routing_entry: entry } = STRUCT;
    const rows: [gsi: number, chip: number, pin: number][] = [];
    for (let irq = 0; irq < PIC_INPUTS; irq += 1) {
      const half = PIC_INPUTS / 2;
      const chip = irq < half ? VALUE.KVM_IRQCHIP_PIC_MASTER : VALUE.KVM_IRQCHIP_PIC_SLAVE;
      if (irq !== TIMER_GSI) rows.push([irq, chip, irq % half]);
    }
    rows.push([0, VALUE.KVM_IRQCHIP_IOAPIC, TIMER_GSI]);
    for (let pin = 1; pin < IOAPIC_INPUTS; pin += 1) {
      if (pin !== TIMER_GSI) rows.push([pin, VALUE.KVM_IRQCHIP_IOAPIC, pin]);
    }
    const bytes = new Uint8Array(head.size + rows.length * entry.size);
    const view = new DataView(bytes.buffer);
    view.setUint32(head.nr, rows.length, true);
    rows.forEach(([gsi, chip, pin], index) => {
      const at = head.entries + index * entry.size;
      view.setUint32(at + entry.gsi, gsi, true);
      view.setUint32(at + entry.type, VALUE.KVM_IRQ_ROUTING_IRQCHIP, true);
      view.setUint32(at + entry['u.irqchip.irqchip'], chip, true);
      view.setUint32(at + entry['u.irqchip.pin'], pin, true);
    });
    kvmStruct(this.fd, 'KVM_SET_GSI_ROUTING', bytes);
  }

  /** Reads the state of interrupt controllers, timer and clock; no vCPU runs. */
  save(): SavedMachine {
    const parts: SavedMachine['parts'][number][] = [];
    for (const chip of IRQCHIPS) {
      const bytes = new Uint8Array(STRUCT.kvm_irqchip.size);
      new DataView(bytes.buffer).setUint32(STRUCT.kvm_irqchip.chip_id, chip, true);
      kvmStruct(this.fd, 'KVM_GET_IRQCHIP', bytes);
      parts.push({ request: 'KVM_SET_IRQCHIP', bytes });
    }
    const bytes = new Uint8Array(STRUCT.kvm_pit_state2.size);
    kvmStruct(this.fd, 'KVM_GET_PIT2', bytes);
    parts.push({ request: 'KVM_SET_PIT2', bytes });
    return { parts, clock: this.clock() };
  }

  /** Writes a state back, or the one that the VM was made with; no vCPU runs. */
  restore({ parts, clock }: SavedMachine = this.#initial): void {
    for (const { request, bytes } of parts) kvmStruct(this.fd, request, bytes.slice());
    this.setClock(clock);
  }

  #setMemory(slots: readonly MemorySlot[]): void {
    const region = STRUCT.kvm_userspace_memory_region;
    slots.forEach(({ guestAddress, hostAddress, length }, index) => {
      const bytes = new Uint8Array(region.size);
      const view = new DataView(bytes.buffer);
      view.setUint32(region.slot, index, true);
      view.setBigUint64(region.guest_phys_addr, BigInt(guestAddress), true);
      view.setBigUint64(region.memory_size, BigInt(length), true);
      view.setBigUint64(region.userspace_addr, hostAddress, true);
      const detail = `slot ${index}, ${length} bytes at 0x${guestAddress.toString(16)}`;
      kvmStruct(this.fd, 'KVM_SET_USER_MEMORY_REGION', bytes, detail);
    });
  }

  /** Lets a signalled eventfd raise an interrupt input, or ends that. */
  connectInterrupt(eventfd: number, gsi: number, connected = true): void {
    const bytes = new Uint8Array(STRUCT.kvm_irqfd.size);
    const view = new DataView(bytes.buffer);
    view.setUint32(STRUCT.kvm_irqfd.fd, eventfd, true);
    view.setUint32(STRUCT.kvm_irqfd.gsi, gsi, true);
    const flags = connected ? 0 : VALUE.KVM_IRQFD_FLAG_DEASSIGN;
    view.setUint32(STRUCT.kvm_irqfd.flags, flags, true);
    kvmStruct(this.fd, 'KVM_IRQFD', bytes, `input ${gsi}`);
  }

  /** Lets a guest's write signal an eventfd without an exit, or ends that. */
  connectDoorbell(eventfd: number, at: DoorbellAddress, connected = true): void {
    const { size, datamatch, addr, len, fd, flags } = STRUCT.kvm_ioeventfd;
    const bytes = new Uint8Array(size);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(datamatch, at.value ?? 0n, true);
    view.setBigUint64(addr, BigInt(at.address), true);
    view.setUint32(len, at.length, true);
    view.setUint32(fd, eventfd, true);
    const bits =
      (at.value === undefined ? 0 : VALUE.KVM_IOEVENTFD_FLAG_DATAMATCH) |
      (at.space === 'port' ? VALUE.KVM_IOEVENTFD_FLAG_PIO : 0) |
      (connected ? 0 : VALUE.KVM_IOEVENTFD_FLAG_DEASSIGN);
    view.setUint32(flags, bits, true);
    kvmStruct(this.fd, 'KVM_IOEVENTFD', bytes, `${at.space} 0x${at.address.toString(16)}`);
  }

  /** The guest's paravirtual clock in nanoseconds. */
  clock(): bigint {
    const bytes = new Uint8Array(STRUCT.kvm_clock_data.size);
    kvmStruct(this.fd, 'KVM_GET_CLOCK', bytes);
    return new DataView(bytes.buffer).getBigUint64(STRUCT.kvm_clock_data.clock, true);
  }

  setClock(nanoseconds: bigint): void {
    const bytes = new Uint8Array(STRUCT.kvm_clock_data.size);
    new DataView(bytes.buffer).setBigUint64(STRUCT.kvm_clock_data.clock, nanoseconds, true);
    kvmStruct(this.fd, 'KVM_SET_CLOCK', bytes);
  }

  /** Its vCPUs are closed first. */
  close(): void {
    closeSync(this.fd);
  }

  /** The same beside the thread: the kernel waits some of its ticks until nobody uses the VM. */
  closeBeside(): Promise<void> {
    return new Promise((resolve) => close(this.fd, () => resolve()));
  }
}
