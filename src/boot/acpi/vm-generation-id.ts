/**
 * The virtual machine generation ID: 16 bytes in the guest's memory that are others once the machine goes on
 * from a copy of itself, and the event that says so. A guest makes its random state anew then.
 *
 * Source: Microsoft, "Virtual Machine Generation ID": a reserved page, a device with the compatible ID and
 * name VM_Gen_Counter and the object ADDR, Notify (device, 0x80). ACPI specification 6.4, 5.6.4.1.1
 * general-purpose event handlers.
 */
import { VM_GENERATION_GPE, VM_GENERATION_ID_ADDRESS } from '../../arch/layout.js';
import * as aml from './aml.js';

const DEVICE = 'VGEN';
const STATUS_CHANGED = 0x80;

/** For \_SB of the DSDT. */
export function generationIdDevice(): Uint8Array {
  return aml.device(DEVICE, [
    aml.name('_HID', aml.string('PNDO0001')),
    aml.name('_CID', aml.string('VM_Gen_Counter')),
    aml.name('_DDN', aml.string('VM_Gen_Counter')),
    aml.name('ADDR', aml.packageOf([aml.integer(VM_GENERATION_ID_ADDRESS), aml.integer(0)])),
  ]);
}

/** The handler of the event, edge-triggered. */
export function generationIdEvent(): Uint8Array {
  const event = VM_GENERATION_GPE.toString(16).toUpperCase().padStart(2, '0');
  return aml.scope('\\_GPE', [
    aml.method(`_E${event}`, [aml.notify(`\\_SB.${DEVICE}`, STATUS_CHANGED)]),
  ]);
}
