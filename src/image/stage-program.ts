/**
 * The program that tells the monitor that user space runs: it writes the byte 7 to the boot-stage
 * port 0xf4 and ends. Debian's cloud kernels have no /dev/port (CONFIG_DEVPORT is off) and busybox has
 * no applet for ports, so the initrd brings these instructions as an ELF file of its own
 * (System V ABI, "Object Files"; ioperm(2); Intel SDM vol. 1, 19.5.2 "I/O Permission Bit Map").
 */
import { BOOT_STAGE_PORT } from '../arch/layout.js';

/** The boot stage "user space". */
const STAGE_USER_SPACE = 7;

const SYS_IOPERM = 173;
const SYS_EXIT = 60;

const EHDR_SIZE = 64;
const PHDR_SIZE = 56;
const LOAD_ADDRESS = 0x400000;

/** Ends with status 0, or 1 when the kernel refuses the port. */
const CODE = Uint8Array.from([
  ...[0xb8, SYS_IOPERM, 0, 0, 0], // mov eax, SYS_ioperm
  ...[0xbf, BOOT_STAGE_PORT, 0, 0, 0], // mov edi, first port
  ...[0xbe, 1, 0, 0, 0], // mov esi, number of ports
  ...[0xba, 1, 0, 0, 0], // mov edx, turn on
  ...[0x0f, 0x05], // syscall
  ...[0x85, 0xc0], // test eax, eax
  ...[0xbf, 1, 0, 0, 0], // mov edi, 1
  ...[0x75, 6], // jnz exit
  ...[0xb0, STAGE_USER_SPACE], // mov al, stage
  ...[0xe6, BOOT_STAGE_PORT], // out port, al
  ...[0x31, 0xff], // xor edi, edi
  ...[0xb8, SYS_EXIT, 0, 0, 0], // exit: mov eax, SYS_exit
  ...[0x0f, 0x05], // syscall
]);

/** The program as a static ELF64 executable of one read-and-execute segment. */
export function stageProgram(): Uint8Array {
  const size = EHDR_SIZE + PHDR_SIZE + CODE.length;
  const file = new Uint8Array(size);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]); // magic, ELFCLASS64, ELFDATA2LSB, EV_CURRENT
  view.setUint16(16, 2, true); // e_type: ET_EXEC
  view.setUint16(18, 62, true); // e_machine: EM_X86_64
  view.setUint32(20, 1, true); // e_version
  view.setBigUint64(24, BigInt(LOAD_ADDRESS + EHDR_SIZE + PHDR_SIZE), true); // e_entry
  view.setBigUint64(32, BigInt(EHDR_SIZE), true); // e_phoff
  view.setUint16(52, EHDR_SIZE, true); // e_ehsize
  view.setUint16(54, PHDR_SIZE, true); // e_phentsize
  view.setUint16(56, 1, true); // e_phnum
  view.setUint16(58, 64, true); // e_shentsize

  view.setUint32(EHDR_SIZE, 1, true); // p_type: PT_LOAD
  view.setUint32(EHDR_SIZE + 4, 5, true); // p_flags: PF_R | PF_X
  view.setBigUint64(EHDR_SIZE + 16, BigInt(LOAD_ADDRESS), true); // p_vaddr
  view.setBigUint64(EHDR_SIZE + 24, BigInt(LOAD_ADDRESS), true); // p_paddr
  view.setBigUint64(EHDR_SIZE + 32, BigInt(size), true); // p_filesz
  view.setBigUint64(EHDR_SIZE + 40, BigInt(size), true); // p_memsz
  view.setBigUint64(EHDR_SIZE + 48, 0x1000n, true); // p_align
  file.set(CODE, EHDR_SIZE + PHDR_SIZE);
  return file;
}
