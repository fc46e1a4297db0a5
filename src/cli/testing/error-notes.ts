/** What docs/errors.md says of codes whose places in the sources say too little. */
export interface ErrorNote {
  readonly meaning?: string;
  readonly remedy?: string;
}

export const ERROR_NOTES: Readonly<Record<string, ErrorNote>> = {
  ACCELERATOR_NONE: {
    meaning: 'No accelerator runs here: the message has what each of them lacks.',
    remedy: 'do what the message says for one of them; --accel wasm needs nothing but Node.js',
  },
  BENCH_GUEST_ENDED: {
    meaning: 'A guest of the bench ended before it was measured.',
    remedy: 'boot the same image with `pando run` and read its console',
  },
  BZIMAGE_BAD_BOOT_FLAG: { remedy: 'fetch the kernel again: it is damaged, or no bzImage' },
  BZIMAGE_NO_PAYLOAD: { remedy: 'give a kernel with its compressed payload, or its vmlinux' },
  BZIMAGE_PAYLOAD_TOO_LARGE: { remedy: 'give a smaller kernel; a true one is far below the limit' },
  COMMAND_CLOSED: { remedy: 'ask for its status before it is closed' },
  COPY_FAILED: {
    meaning:
      'A file or folder could not be copied between host and sandbox: the message says which, and why.',
    remedy: 'check both paths, and that both sides may be read and written',
  },
  COPY_TARGET: { remedy: 'name the folder itself, not a link to it' },
  CPIO_BAD_FIELD: { remedy: 'make the archive again with `cpio -H newc` or `pando image initrd`' },
  CPIO_BAD_MAGIC: { remedy: 'make the archive again with `cpio -H newc` or `pando image initrd`' },
  CPIO_CHECKSUM: { remedy: 'fetch the archive again: it is damaged' },
  CPIO_DUPLICATE_NAME: { remedy: 'give each file a name of its own' },
  CPIO_FILE_TOO_LARGE: { remedy: 'put the file on a disk instead of into the initrd' },
  CPUID_TABLE_FULL: { remedy: 'report it: the table of the release is too small' },
  CREDENTIALS_INVALID: {
    meaning: "Docker's config.json, or what a credential helper answers, is not understood.",
    remedy: 'mend the file, or log in again with `docker login`',
  },
  DECOMPRESS_TOO_LARGE: { remedy: 'give a smaller file, or check that it is what its name says' },
  DECOMPRESS_UNSUPPORTED: { remedy: 'compress the file again without that option' },
  DISK_READ_ONLY: { remedy: 'use the mode ro' },
  DISK_SHORT: {
    meaning: 'The file of a disk became shorter while a guest used it.',
    remedy: 'do not truncate files under a running VM; make the file as long as it was',
  },
  DOCUMENT_TOO_LARGE: { remedy: 'take another image: no true document is as large' },
  ELF_BAD_MAGIC: { remedy: 'give a vmlinux or bzImage' },
  ELF_BYTE_ORDER_UNSUPPORTED: { remedy: 'give a kernel for x86-64' },
  ELF_CLASS_UNSUPPORTED: { remedy: 'fetch the kernel again: it is damaged, or no ELF file' },
  ELF_NOTES_TOO_LARGE: { remedy: 'give a kernel with smaller notes; no true kernel comes near' },
  ELF_NOTE_PAST_END: { remedy: 'fetch the kernel again: it is damaged' },
  ELF_NO_LOAD_SEGMENT: { remedy: 'give a linked kernel (vmlinux or bzImage)' },
  ELF_NO_PROGRAM_HEADERS: {
    remedy: 'give a linked kernel (vmlinux or bzImage), not an object file',
  },
  ELF_PROGRAM_HEADER_SIZE: { remedy: 'fetch the kernel again: it is damaged' },
  ELF_RELAYOUT_TOO_LARGE: { remedy: 'link the kernel so that its segments do not share bytes' },
  ELF_SEGMENTS_OVERLAP: {
    remedy: 'link the kernel so that its segments do not overlap, or fetch it again',
  },
  ELF_SEGMENT_ABOVE_4G: { remedy: 'link the kernel to addresses below 4 GiB' },
  ELF_SEGMENT_BELOW_1M: { remedy: 'link the kernel to addresses from 1 MiB on' },
  ELF_SEGMENT_FILE_SIZE: { remedy: 'fetch the kernel again: it is damaged' },
  ELF_SEGMENT_WRAPS: { remedy: 'fetch the kernel again: it is damaged' },
  ELF_TOO_MANY_SEGMENTS: { remedy: 'link the kernel with fewer segments' },
  ELF_TRUNCATED: { remedy: 'fetch the kernel again: it is truncated' },
  ENGINE_STATE_INVALID: {
    remedy: 'boot without a snapshot; report it if a guest came there by itself',
  },
  EROFS_BAD_TARGET: { remedy: 'give the link a target of that length' },
  EROFS_BLOB_UNALIGNED: { remedy: 'pad the blob to a whole number of blocks' },
  EROFS_DATA_MISSING: { remedy: 'pull or import the image again' },
  EROFS_DIRECTORY_LINK: { remedy: 'give directories one name; links are for files' },
  EROFS_TOO_LARGE: { remedy: 'split the image into several' },
  EROFS_UNSUPPORTED: {
    remedy:
      'make the image with mkfs.erofs without that feature, or pull it with `pando image pull`',
  },
  EROFS_XATTR_TOO_LARGE: { remedy: 'give the file fewer or shorter extended attributes' },
  EROFS_XATTR_UNSUPPORTED: {
    remedy:
      'leave the attribute away: names begin with user., trusted., security. or system.posix_acl',
  },
  EXEC_FAILED: {
    meaning: 'A command in the guest ended with a status other than 0, or by a signal.',
    remedy: 'read its standard error, which the message ends with',
  },
  FILE_CHANGED: { meaning: 'A file changed while it was read.' },
  FORK_FAILED: {
    meaning: 'A sandbox could not be copied; the message has the cause of each copy.',
    remedy: 'do what the cause says; a smaller --count needs less memory',
  },
  GDB_CHECKSUM: { remedy: 'run it again; if it stays so, use another QEMU' },
  GDB_CLOSED: { remedy: 'see why QEMU ended: run its command by hand' },
  GDB_REFUSED: { remedy: 'use QEMU 5 or newer' },
  GDB_UNREACHABLE: { remedy: 'see whether QEMU runs, and may make a socket there' },
  'GUEST_*name*': {
    meaning:
      "An operation in the guest failed: the code ends in the guest's own name of the error (errno(3)), such as GUEST_ENOENT.",
    remedy: 'do what that error asks for: check the path, the rights, the room in the guest',
  },
  GUEST_MEMORY_NOT_SHARED: { remedy: 'make the memory with `shared: true`' },
  GUEST_RAM_RELEASED: { remedy: 'ask before the VM ends' },
  GUEST_TRIPLE_FAULT: {
    remedy:
      'give the guest more memory, or another kernel; the last console lines tell how far it came',
  },
  IMAGE_FILE_MISSING: { remedy: 'give the file that the plan was made for' },
  IMAGE_READ_FAILED: { remedy: 'check the disk that holds the file; the system log may say more' },
  INITRD_NESTED_TOO_DEEP: { remedy: 'compress the initrd once' },
  INTERNAL: {
    meaning: 'Something failed that should not: a fault of Pando.',
    remedy: 'report it with the message and its trace',
  },
  KVM_REQUEST_FAILED: { meaning: 'KVM refused a request of Pando.' },
  LOCKSTEP_FAILED: { remedy: 'report it with the message' },
  LOCKSTEP_STUCK: { remedy: 'report it with the command line' },
  MEASURE_NO_PAGEMAP: {
    meaning: 'The kernel does not tell a process which of its pages are shared.',
    remedy: 'use a kernel with CONFIG_PROC_PAGE_MONITOR, and mount /proc',
  },
  MEASURE_NO_PROCESS: { remedy: 'measure while the process runs' },
  NET_ADDRESS_INVALID: { remedy: 'choose an address of the subnet' },
  NET_ADDRESS_TAKEN: { remedy: 'choose an address that no other VM has' },
  NET_CLOSED: { remedy: 'make the VM before its network is closed' },
  NET_LIMIT_INVALID: { remedy: 'give a number of that range' },
  NET_MAC_TAKEN: { remedy: 'give each VM a MAC address of its own, or none' },
  NET_MTU_INVALID: { remedy: 'give a number of that range, such as 1500' },
  NET_NAME_INVALID: { remedy: 'name hosts as the domain name system does: web-1' },
  NET_NAME_TAKEN: { remedy: 'give each VM a name of its own' },
  NUMBER_INVALID: { remedy: 'give a number of that range' },
  OPERATION_UNKNOWN: { remedy: 'name an operation of the table in src/accel/wasm/isa' },
  OUTPUT_UNWRITABLE: { remedy: 'free some space, or give the command a reader that stays' },
  PACKAGES_UNRESOLVABLE: { meaning: 'APT finds no set of packages that fits together.' },
  PACKAGE_NAME_INVALID: {
    remedy: 'name packages as Debian does: small letters, digits, +, - and .',
  },
  PVH_ENTRY_OUTSIDE_KERNEL: { remedy: 'fetch the kernel again: it is damaged' },
  PVH_NOTE_CONFLICT: {
    remedy: 'fetch the kernel again: it is damaged, or linked from parts that do not fit',
  },
  PVH_NOTE_TOO_SHORT: { remedy: 'fetch the kernel again: it is damaged' },
  QEMU_ENDED: { remedy: 'run QEMU by hand: its last words are in the message' },
  QEMU_GUEST_PANIC: { remedy: 'give the guest what its kernel misses, such as memory or a root' },
  QEMU_OPTION_UNSUPPORTED: { meaning: "QEMU's option has no counterpart here." },
  REGISTRY_UNREACHABLE: { meaning: 'The registry cannot be reached.' },
  REPORT_UNWRITABLE: { remedy: 'name a file that you may write, on a disk with room' },
  SERIAL_FILE_UNWRITABLE: { remedy: 'name a file that you may write, on a disk with room' },
  SERVER_REFUSED: {
    meaning: 'The process that holds the sandboxes refused a request; the message is its answer.',
    remedy: 'do what the message says; `pando ps` shows the sandboxes',
  },
  SIGNAL_UNKNOWN: { remedy: 'name a signal of signal(7), such as SIGTERM' },
  SOURCE_READ_PAST_END: { remedy: 'fetch the file again: it is shorter than its headers say' },
  TAR_FILE_TOO_LARGE: { remedy: 'take the file out of the archive' },
  TIMEOUT: {
    remedy: 'give a longer --timeout; the lines below the message tell where each guest was',
  },
  UNTIL_EMPTY: { remedy: 'give the text that the console prints when the guest is ready' },
  UNTIL_NOT_SEEN: { remedy: 'read the last console lines, and check the text' },
  VCPU_UNKNOWN: { remedy: 'vCPUs are counted from 0' },
  VM_CLOSED: { meaning: 'The VM has been closed.', remedy: 'ask a VM before `close`' },
  SANDBOX_ENDED: {
    meaning:
      'The guest of a sandbox has ended: it powered off, reset, or its kernel panicked, or the sandbox was closed; the message says which.',
  },
  VM_ENDED: { remedy: 'make another VM; the message says how this one ended' },
  VM_NOT_MADE: { remedy: 'wait until the VMs before it have booted' },
  VM_PROCESS_BUG: {
    meaning: 'A VM process failed in a way that it should not: a fault of Pando.',
    remedy: 'report it with the message and its trace',
  },
  VM_PROCESS_DIED: {
    meaning: 'The process of a VM ended by itself or was killed.',
    remedy:
      'free some memory, or run fewer VMs: the system log tells whether it was killed for want of memory',
  },
  VM_PROCESS_SILENT: { remedy: 'the host may be overloaded: run fewer VMs, then try again' },
  VSOCK_CLOSED: { remedy: 'see whether the program in the guest still runs, and connect again' },
  VSOCK_PORT_TAKEN: { remedy: 'choose another port, or close the listener' },
  WORKER_FAILED: {
    remedy: 'free some memory, then start the VM again; report it if it comes again',
  },
};
