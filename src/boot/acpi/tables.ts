/**
 * The machine's ACPI tables: RSDP, XSDT, FADT, FACS, MADT, DSDT.
 *
 * Source: ACPI specification 6.4, section 5.2. The machine has fixed hardware (PM1a, PM timer, a block of
 * general-purpose events, reset register), no SMI command port (so it is always in ACPI mode), no 8042 and no VGA.
 */
import {
  ACPI_TABLES_LIMIT,
  GPE0_PORT,
  IOAPIC_ADDRESS,
  LOCAL_APIC_ADDRESS,
  PM_TIMER_PORT,
  PM1A_CONTROL_PORT,
  PM1A_EVENT_PORT,
  RESET_CONTROL_PORT,
  RESET_CONTROL_VALUE,
  RTC_CENTURY,
  SCI_IRQ,
  SLEEP_TYPE_S5,
  TIMER_GSI,
} from '../../arch/layout.js';
import { PandoError } from '../../error.js';
import * as aml from './aml.js';
import { generationIdDevice, generationIdEvent } from './vm-generation-id.js';

const HEADER_BYTES = 36;
const CHECKSUM_OFFSET = 9;
const RSDP_BYTES = 36;
const FADT_BYTES = 276;
const FACS_BYTES = 64;
/** FACS must be aligned to 64; the others are for the reader's sake. */
const TABLE_ALIGNMENT = 64;

const OEM_ID = 'PANDO ';
const OEM_TABLE_ID = 'PANDOVM ';
const CREATOR_ID = 'PNDO';

// MADT entry types
const MADT_LOCAL_APIC = 0;
const MADT_IO_APIC = 1;
const MADT_SOURCE_OVERRIDE = 2;
const MADT_LOCAL_APIC_NMI = 4;
const MADT_LOCAL_X2APIC = 9;
const MADT_LOCAL_X2APIC_NMI = 10;
const MADT_PCAT_COMPAT = 1;
const MADT_ENABLED = 1;
const ALL_PROCESSORS = 0xff;
const ALL_PROCESSORS_X2 = 0xffffffff;
/** APIC ids from here on need x2APIC entries: FFh is the broadcast id. */
const FIRST_X2APIC_ID = 255;
/** MPS INTI flags: active high, level triggered. */
const ACTIVE_HIGH_LEVEL = 0x000d;

// FADT flags
const FADT_WBINVD = 1 << 0;
const FADT_PROC_C1 = 1 << 2;
const FADT_SLP_BUTTON = 1 << 5;
const FADT_FIX_RTC = 1 << 6;
const FADT_TMR_VAL_EXT = 1 << 8;
const FADT_RESET_REG_SUP = 1 << 10;
const FADT_HEADLESS = 1 << 12;
// FADT IAPC_BOOT_ARCH; the 8042 bit stays clear.
const BOOT_ARCH_LEGACY_DEVICES = 1 << 0;
const BOOT_ARCH_NO_VGA = 1 << 2;
const BOOT_ARCH_NO_ASPM = 1 << 4;
/** Status and enable of 16 general-purpose events. */
const GPE0_BYTES = 4;
/** C2 and C3 do not exist when their latencies exceed 100 and 1000. */
const NO_C2_LATENCY = 101;
const NO_C3_LATENCY = 1001;

const GAS_SYSTEM_IO = 1;
const GAS_BYTE = 1;
const GAS_WORD = 2;
const GAS_DWORD = 3;

export interface AcpiOptions {
  /** Guest physical address of the first byte; a multiple of 64. */
  readonly address: number;
  readonly vcpus: number;
  /** Further devices for \_SB of the DSDT, as AML. */
  readonly dsdtDevices: readonly Uint8Array[];
}

export interface AcpiTables {
  /** Everything, to be placed at `address`. */
  readonly bytes: Uint8Array;
  readonly rsdpAddress: number;
}

function writeAscii(bytes: Uint8Array, offset: number, text: string): void {
  bytes.set(new TextEncoder().encode(text), offset);
}

function checksum(bytes: Uint8Array, offset: number): void {
  bytes[offset] = 0;
  let sum = 0;
  for (const byte of bytes) sum += byte;
  bytes[offset] = -sum & 0xff;
}

function table(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + body.length);
  const view = new DataView(bytes.buffer);
  writeAscii(bytes, 0, signature);
  view.setUint32(4, bytes.length, true);
  bytes[8] = revision;
  writeAscii(bytes, 10, OEM_ID);
  writeAscii(bytes, 16, OEM_TABLE_ID);
  view.setUint32(24, 1, true);
  writeAscii(bytes, 28, CREATOR_ID);
  view.setUint32(32, 1, true);
  bytes.set(body, HEADER_BYTES);
  checksum(bytes, CHECKSUM_OFFSET);
  return bytes;
}

/** Generic address structure of a port register. */
function portRegister(
  view: DataView,
  offset: number,
  port: number,
  bits: number,
  access: number,
): void {
  view.setUint8(offset, GAS_SYSTEM_IO);
  view.setUint8(offset + 1, bits);
  view.setUint8(offset + 3, access);
  view.setBigUint64(offset + 4, BigInt(port), true);
}

function buildFadt(facs: number, dsdt: number): Uint8Array {
  const body = new Uint8Array(FADT_BYTES - HEADER_BYTES);
  // Offsets below are the specification's, from the start of the table.
  const view = new DataView(body.buffer);
  const at = (offset: number): number => offset - HEADER_BYTES;
  view.setUint32(at(36), facs, true);
  view.setUint32(at(40), dsdt, true);
  view.setUint16(at(46), SCI_IRQ, true);
  view.setUint32(at(56), PM1A_EVENT_PORT, true);
  view.setUint32(at(64), PM1A_CONTROL_PORT, true);
  view.setUint32(at(76), PM_TIMER_PORT, true);
  view.setUint32(at(80), GPE0_PORT, true);
  view.setUint8(at(88), 4);
  view.setUint8(at(89), 2);
  view.setUint8(at(91), 4);
  view.setUint8(at(92), GPE0_BYTES);
  view.setUint16(at(96), NO_C2_LATENCY, true);
  view.setUint16(at(98), NO_C3_LATENCY, true);
  view.setUint8(at(108), RTC_CENTURY);
  view.setUint16(at(109), BOOT_ARCH_LEGACY_DEVICES | BOOT_ARCH_NO_VGA | BOOT_ARCH_NO_ASPM, true);
  view.setUint32(
    at(112),
    FADT_WBINVD |
      FADT_PROC_C1 |
      FADT_SLP_BUTTON |
      FADT_FIX_RTC |
      FADT_TMR_VAL_EXT |
      FADT_RESET_REG_SUP |
      FADT_HEADLESS,
    true,
  );
  portRegister(view, at(116), RESET_CONTROL_PORT, 8, GAS_BYTE);
  view.setUint8(at(128), RESET_CONTROL_VALUE);
  view.setBigUint64(at(140), BigInt(dsdt), true);
  portRegister(view, at(148), PM1A_EVENT_PORT, 32, GAS_WORD);
  portRegister(view, at(172), PM1A_CONTROL_PORT, 16, GAS_WORD);
  portRegister(view, at(208), PM_TIMER_PORT, 32, GAS_DWORD);
  portRegister(view, at(220), GPE0_PORT, GPE0_BYTES * 8, GAS_BYTE);
  writeAscii(body, at(268), 'PANDO');
  return table('FACP', 6, body);
}

function buildFacs(): Uint8Array {
  const bytes = new Uint8Array(FACS_BYTES);
  writeAscii(bytes, 0, 'FACS');
  new DataView(bytes.buffer).setUint32(4, FACS_BYTES, true);
  bytes[32] = 2;
  return bytes;
}

function u32(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
}

function buildMadt(vcpus: number): Uint8Array {
  const bytes: number[] = [...u32(LOCAL_APIC_ADDRESS), ...u32(MADT_PCAT_COMPAT)];
  for (let id = 0; id < vcpus; id += 1) {
    if (id < FIRST_X2APIC_ID) bytes.push(MADT_LOCAL_APIC, 8, id, id, ...u32(MADT_ENABLED));
    else bytes.push(MADT_LOCAL_X2APIC, 16, 0, 0, ...u32(id), ...u32(MADT_ENABLED), ...u32(id));
  }
  bytes.push(MADT_IO_APIC, 12, 0, 0, ...u32(IOAPIC_ADDRESS), ...u32(0));
  bytes.push(MADT_SOURCE_OVERRIDE, 10, 0, 0, ...u32(TIMER_GSI), 0, 0);
  bytes.push(MADT_SOURCE_OVERRIDE, 10, 0, SCI_IRQ, ...u32(SCI_IRQ), ACTIVE_HIGH_LEVEL, 0);
  bytes.push(MADT_LOCAL_APIC_NMI, 6, ALL_PROCESSORS, 0, 0, 1);
  if (vcpus > FIRST_X2APIC_ID) {
    bytes.push(MADT_LOCAL_X2APIC_NMI, 12, 0, 0, ...u32(ALL_PROCESSORS_X2), 1, 0, 0, 0);
  }
  return table('APIC', 5, Uint8Array.from(bytes));
}

/** \_S5 for power-off, and the devices that enumeration does not find by itself. */
function buildDsdt(devices: readonly Uint8Array[]): Uint8Array {
  const sleepType = aml.integer(SLEEP_TYPE_S5);
  const zero = aml.integer(0);
  const terms = [
    aml.name('\\_S5', aml.packageOf([sleepType, sleepType, zero, zero])),
    aml.scope('\\_SB', [
      aml.device('COM1', [
        aml.name('_HID', aml.eisaId('PNP0501')),
        aml.name('_UID', aml.integer(1)),
        aml.name('_CRS', aml.resourceTemplate([aml.ioPorts(0x3f8, 8), aml.isaIrq(4)])),
      ]),
      aml.device('RTC', [
        aml.name('_HID', aml.eisaId('PNP0B00')),
        aml.name('_CRS', aml.resourceTemplate([aml.ioPorts(0x70, 2), aml.isaIrq(8)])),
      ]),
      generationIdDevice(),
      ...devices,
    ]),
    generationIdEvent(),
  ];
  const body = new Uint8Array(terms.reduce((sum, term) => sum + term.length, 0));
  let offset = 0;
  for (const term of terms) {
    body.set(term, offset);
    offset += term.length;
  }
  return table('DSDT', 2, body);
}

function buildXsdt(addresses: readonly number[]): Uint8Array {
  const body = new Uint8Array(addresses.length * 8);
  const view = new DataView(body.buffer);
  addresses.forEach((address, index) => {
    view.setBigUint64(index * 8, BigInt(address), true);
  });
  return table('XSDT', 1, body);
}

function buildRsdp(xsdt: number): Uint8Array {
  const bytes = new Uint8Array(RSDP_BYTES);
  const view = new DataView(bytes.buffer);
  writeAscii(bytes, 0, 'RSD PTR ');
  writeAscii(bytes, 9, OEM_ID);
  bytes[15] = 2;
  view.setUint32(20, RSDP_BYTES, true);
  view.setBigUint64(24, BigInt(xsdt), true);
  // The first checksum covers the ACPI 1.0 part, the second everything.
  checksum(bytes.subarray(0, 20), 8);
  checksum(bytes, 32);
  return bytes;
}

/**
 * Builds the tables for a place in memory, the RSDP first.
 * @throws PandoError ACPI_TABLES_TOO_LARGE
 */
export function buildAcpiTables(options: AcpiOptions): AcpiTables {
  const parts: { readonly address: number; readonly bytes: Uint8Array }[] = [];
  let end = options.address + TABLE_ALIGNMENT;
  const place = (bytes: Uint8Array): number => {
    const address = end;
    parts.push({ address, bytes });
    end = Math.ceil((address + bytes.length) / TABLE_ALIGNMENT) * TABLE_ALIGNMENT;
    return address;
  };
  const facs = place(buildFacs());
  const dsdt = place(buildDsdt(options.dsdtDevices));
  const fadt = place(buildFadt(facs, dsdt));
  const madt = place(buildMadt(options.vcpus));
  const xsdt = place(buildXsdt([fadt, madt]));
  parts.push({ address: options.address, bytes: buildRsdp(xsdt) });

  const length = end - options.address;
  if (length > ACPI_TABLES_LIMIT) {
    throw new PandoError(
      'ACPI_TABLES_TOO_LARGE',
      `ACPI tables of ${length} bytes at ${options.address.toString(16)}h exceed ${ACPI_TABLES_LIMIT}`,
      { remedy: 'use fewer vCPUs or devices' },
    );
  }
  const bytes = new Uint8Array(length);
  for (const part of parts) bytes.set(part.bytes, part.address - options.address);
  return { bytes, rsdpAddress: options.address };
}
