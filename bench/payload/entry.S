/* Entry of the payload of against-v86.ts: by multiboot (Multiboot Specification 0.6.96, 3.1) or by PVH (Xen,
   docs/misc/pvh.pandoc). Both come here in flat 32-bit protected mode without paging. */
        .section .multiboot, "a"
        .balign 4
        .long 0x1badb002, 0, -0x1badb002

        .section .note.pvh, "a", @note
        .balign 4
        .long 4, 4, 18          /* XEN_ELFNOTE_PHYS32_ENTRY */
        .asciz "Xen"
        .long entry

        .text
        .globl entry
entry:
        cli
        mov $stack_top, %esp
        mov %cr0, %eax
        and $~0xc, %eax         /* TS, EM */
        or $0x22, %eax          /* NE, MP */
        mov %eax, %cr0
        mov %cr4, %eax
        or $0x610, %eax         /* OSXMMEXCPT, OSFXSR, PSE */
        mov %eax, %cr4
        fninit
        call payload
1:      hlt
        jmp 1b

        .bss
        .balign 16
        .skip 0x10000
stack_top:

        .section .note.GNU-stack, "", @progbits
