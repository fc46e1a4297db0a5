/**
 * What carries interrupt messages between I/O APIC and local APICs: who is addressed, who takes it.
 *
 * Source: Intel SDM vol. 3A, 11.6.1 interrupt command register, 11.6.2 determining IPI destination,
 * 11.12.9 ICR operation in x2APIC mode, 11.11 message signalled interrupts.
 */
/** Delivery modes of ICR, redirection entries and LVT entries. */
export const DELIVERY = {
  fixed: 0,
  lowestPriority: 1,
  smi: 2,
  nmi: 4,
  init: 5,
  startUp: 6,
  extInt: 7,
} as const;

/** The physical destination that means every local APIC, whatever the width of the sender's field. */
export const BROADCAST = 0xffffffff;

// ICR, low word
const ICR_VECTOR = 0xff;
const ICR_DELIVERY_SHIFT = 8;
const ICR_LOGICAL = 0x0800;
const ICR_ASSERT = 0x4000;
const ICR_LEVEL = 0x8000;
const ICR_SHORTHAND_SHIFT = 18;
const SHORTHAND_NONE = 0;
const SHORTHAND_SELF = 1;
const SHORTHAND_ALL = 2;

// Message address and data (11.11.1, 11.11.2)
const MESSAGE_FIXED_MASK = 0xfff00000;
const MESSAGE_FIXED = 0xfee00000;
const MESSAGE_DESTINATION_SHIFT = 12;
const MESSAGE_LOGICAL = 0x4;
const MESSAGE_VECTOR = 0xff;
const MESSAGE_DELIVERY_SHIFT = 8;
const MESSAGE_LEVEL = 0x8000;

/** What the bus needs of a local APIC. */
export interface ApicTarget {
  readonly globallyEnabled: boolean;
  readonly softwareEnabled: boolean;
  isAddressed(destination: number, logical: boolean): boolean;
  processorPriority(): number;
  /** @returns whether it took the message */
  receive(mode: number, vector: number, level: boolean): boolean;
}

export class ApicBus {
  readonly #apics: ApicTarget[] = [];

  /** Adds a local APIC; its index is its APIC id. */
  attach(apic: ApicTarget): void {
    this.#apics.push(apic);
  }

  /**
   * Delivers a message to the local APICs that `destination` addresses.
   * @returns whether at least one took it
   */
  deliver(
    mode: number,
    vector: number,
    level: boolean,
    destination: number,
    logical: boolean,
  ): boolean {
    if (mode === DELIVERY.lowestPriority) {
      const target = this.#lowestPriority(destination, logical);
      return target?.receive(DELIVERY.fixed, vector, level) ?? false;
    }
    let accepted = false;
    for (let i = 0; i < this.#apics.length; i += 1) {
      const apic = this.#apics[i]!;
      if (apic.isAddressed(destination, logical)) {
        accepted = apic.receive(mode, vector, level) || accepted;
      }
    }
    return accepted;
  }

  /**
   * A device's interrupt message; dropped when it is not addressed to local APICs.
   * @param address below 2^32 in the only format that there is
   */
  sendMessage(address: bigint, data: number): void {
    if (address >> 32n !== 0n) return;
    const low = Number(address);
    if ((low & MESSAGE_FIXED_MASK) >>> 0 !== MESSAGE_FIXED) return;
    const logical = (low & MESSAGE_LOGICAL) !== 0;
    const byte = (low >>> MESSAGE_DESTINATION_SHIFT) & 0xff;
    const destination = byte === 0xff && !logical ? BROADCAST : byte;
    const mode = (data >>> MESSAGE_DELIVERY_SHIFT) & 7;
    this.deliver(mode, data & MESSAGE_VECTOR, (data & MESSAGE_LEVEL) !== 0, destination, logical);
  }

  /** An inter-processor interrupt, as the sender's ICR holds it. */
  sendIpi(sender: ApicTarget, icr: number, destination: number): void {
    const mode = (icr >>> ICR_DELIVERY_SHIFT) & 7;
    const vector = icr & ICR_VECTOR;
    // INIT level de-assert only synchronized arbitration ids, on processors before the Pentium 4.
    if (mode === DELIVERY.init && (icr & (ICR_ASSERT | ICR_LEVEL)) === ICR_LEVEL) return;
    const shorthand = icr >>> ICR_SHORTHAND_SHIFT;
    if (shorthand === SHORTHAND_NONE) {
      this.deliver(mode, vector, false, destination, (icr & ICR_LOGICAL) !== 0);
    } else if (shorthand === SHORTHAND_SELF) {
      sender.receive(mode, vector, false);
    } else {
      for (const apic of this.#apics) {
        if (apic.globallyEnabled && (apic !== sender || shorthand === SHORTHAND_ALL)) {
          apic.receive(mode === DELIVERY.lowestPriority ? DELIVERY.fixed : mode, vector, false);
        }
      }
    }
  }

  /** Of the addressed local APICs that take interrupts, the one at lowest priority (lowest id first). */
  #lowestPriority(destination: number, logical: boolean): ApicTarget | undefined {
    let best: ApicTarget | undefined;
    let bestPriority = 0x100;
    for (let i = 0; i < this.#apics.length; i += 1) {
      const apic = this.#apics[i]!;
      if (!apic.isAddressed(destination, logical) || !apic.softwareEnabled) continue;
      const priority = apic.processorPriority();
      if (priority < bestPriority) {
        best = apic;
        bestPriority = priority;
      }
    }
    return best;
  }
}
