/**
 * What this host's KVM can run: single instructions in 64-bit mode at privilege level 0, each in a VM of
 * its own that has nothing but RAM, the kernel's devices and one vCPU; and the in-service register of
 * the local APIC in an interrupt's handler, as the guest reads it and as KVM_GET_LAPIC gives it. Where
 * the processor runs the guest, all of it works.
 *
 *     npm run build && npx tsc -p bench && node dist/benches/kvm-host.js
 */
import { GuestCode } from '#dist/accel/conformance/testing/guest.js';
import { EXIT, KVM, nameOf, STRUCT } from '#dist/accel/kvm/api.js';
import { kvmStruct } from '#dist/accel/kvm/system.js';
import { BareVm } from '#dist/accel/kvm/testing/bare-vm.js';
import { LOCAL_APIC_ADDRESS } from '#dist/arch/layout.js';

const RAM = 32 << 20;
const TABLES = 0x230000;
const OPERAND = 0x240000;
const [DONE, TRAP, VALUE] = [0x10, 0x11, 0x12];
const VECTOR = 0x41;
/** The word of the in-service register that has the vector's bit. */
const IN_SERVICE = 0x100 + (VECTOR >>> 5) * 0x10;

/** Name, bytes, and whether CR4.OSXSAVE has to be set. RDI points to 64-byte aligned zeros. */
const INSTRUCTIONS: readonly (readonly [name: string, bytes: string, osxsave?: boolean])[] = [
  ['NOP', '90'],
  ['INT3', 'cc'],
  ['INT 3', 'cd03'],
  ['PUSHFQ; POPFQ', '9c9d'],
  ['EMMS', '0f77'],
  ['FNINIT', 'dbe3'],
  ['LDMXCSR [RDI]', '0fae17'],
  ['MOVAPS XMM0, XMM1', '0f28c1'],
  ['FXSAVE64 [RDI]', '480fae07'],
  ['FXRSTOR64 [RDI]', '480fae0f'],
  ['XSAVE64 [RDI]', '480fae27', true],
  ['XRSTOR64 [RDI]', '480fae2f', true],
  ['CMPXCHG16B [RDI]', '480fc70f'],
  ['POPCNT RAX, RDI', 'f3480fb8c7'],
  ['RDTSCP', '0f01f9'],
  ['SWAPGS', '0f01f8'],
  ['CLAC', '0f01ca'],
  ['INVLPG [RDI]', '0f013f'],
  // PUSH SS, RSP, RFLAGS, CS and the address behind it.
  ['IRETQ', '6a10549c6a08488d05030000005048cf'],
];

function runs(bytes: string, osxsave: boolean): string {
  using vm = new BareVm(RAM);
  const code = new GuestCode().stack().longMode(TABLES).longGate(3, 'trap').mov('edi', OPERAND);
  // MOV EAX, CR4; OR EAX, OSFXSR, OSXSAVE; MOV CR4, EAX.
  code
    .emit('0f20e0 0d')
    .dword(osxsave ? 0x40200 : 0x200)
    .emit('0f22e0')
    .emit(bytes);
  code.emit('e6', DONE).label('trap').emit('e6', TRAP);
  vm.load(code.origin, code.bytes());
  const reason = vm.enter();
  if (reason === EXIT.KVM_EXIT_IO) return vm.port === DONE ? 'runs' : 'runs, and traps';
  if (reason !== EXIT.KVM_EXIT_INTERNAL_ERROR) return nameOf(EXIT, reason);
  const suberror = vm.run.getUint32(STRUCT.kvm_run['internal.suberror'], true);
  return `KVM_EXIT_INTERNAL_ERROR, suberror ${suberror}`;
}

/** The in-service word within the handler: read by the guest, and by the host at that moment. */
function inService(): { readonly guest: number; readonly host: number } {
  using vm = new BareVm(RAM);
  const code = new GuestCode().stack().interruptTable().gate(VECTOR, 'irq').pic(0xffff);
  code.storeValue(LOCAL_APIC_ADDRESS + 0xf0, 0x1ff);
  // To itself.
  code.storeValue(LOCAL_APIC_ADDRESS + 0x300, 0x44000 | VECTOR).sleepUntilCount(1);
  code.emit('e6', DONE);
  code.countingHandler('irq', 'apic', () => {
    code.load('eax', LOCAL_APIC_ADDRESS + IN_SERVICE).emit('e7', VALUE);
  });
  vm.load(code.origin, code.bytes());
  if (vm.enter() !== EXIT.KVM_EXIT_IO || vm.port !== VALUE) throw new Error('no interrupt came');
  const apic = new Uint8Array(STRUCT.kvm_lapic_state.size);
  kvmStruct(vm.owner.handle.fd, 'KVM_GET_LAPIC', apic);
  return { guest: vm.portValue, host: new DataView(apic.buffer).getUint32(IN_SERVICE, true) };
}

for (const [name, bytes, osxsave = false] of INSTRUCTIONS) {
  console.log(`${name.padEnd(20)}${bytes.padEnd(36)}${runs(bytes, osxsave)}`);
}
const { guest, host } = inService();
const wanted = (1 << (VECTOR & 31)).toString(16);
console.log(
  `in-service register in a handler: ${guest.toString(16)} read by the guest, ${host.toString(16)} by ${nameOf(KVM, KVM.KVM_GET_LAPIC)}; ${wanted} where it is kept`,
);
