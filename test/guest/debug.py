"""Steps, breakpoints, shadows of MOV SS, local descriptors and faults, as a debugger or a handler sees them.

`debug.py probe` prints the parts that this machine lacks; their names as arguments leave them out.
"""
import ctypes
import mmap
import os
import signal
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
libc.ptrace.restype = ctypes.c_long
TRACEME, PEEKUSER, POKEUSER, CONT, KILL, SINGLESTEP = 0, 3, 6, 7, 8, 9
RIP, EFLAGS = 16 * 8, 18 * 8
DEBUG_REGISTERS = 848
MODIFY_LDT = 154
DATA = 2048

page = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
BASE = ctypes.addressof(ctypes.c_char.from_buffer(page))


def enter(code):
    """Runs code of the page, which int3 surrounds, in this process."""
    page[0 : len(code) + 3] = b"\xcc" + code + b"\xcc\xc3"
    ctypes.CFUNCTYPE(None)(BASE)()


def traced(code):
    """A child that has stopped at the first int3."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        if libc.ptrace(TRACEME, 0, None, None) != 0:
            os._exit(1)
        enter(code)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    return child if os.WIFSTOPPED(status) else None


def peek(child, offset):
    ctypes.set_errno(0)
    return libc.ptrace(PEEKUSER, child, offset, None) & (2**64 - 1)


def poke(child, offset, value):
    return libc.ptrace(POKEUSER, child, offset, value)


def go(child, how):
    """To the next stop: where, why, and what DR6 says."""
    libc.ptrace(how, child, None, None)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSTOPPED(status):
        return None
    where = peek(child, RIP) - BASE
    dr6 = peek(child, DEBUG_REGISTERS + 6 * 8) & 0x600F
    poke(child, DEBUG_REGISTERS + 6 * 8, 0)
    return where, signal.Signals(os.WSTOPSIG(status)).name, hex(dr6)


def end(child):
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def run(code, how, breakpoints=(), limit=30):
    """Stops of a run until it leaves the page or reaches its last int3."""
    child = traced(code)
    dr7 = 0
    for number, (offset, kind, length) in enumerate(breakpoints):
        poke(child, DEBUG_REGISTERS + number * 8, BASE + offset)
        dr7 |= 1 << (2 * number) | (kind | (length - 1) << 2) << (16 + 4 * number)
    if dr7 != 0 and poke(child, DEBUG_REGISTERS + 7 * 8, dr7) != 0:
        end(child)
        return None
    stops = []
    for _ in range(limit):
        stop = go(child, how)
        stops.append(stop)
        if stop is None or stop[1] != "SIGTRAP" or not 0 <= stop[0] < len(code) + 2:
            break
    end(child)
    return stops


EXECUTE, WRITE, ACCESS = 0, 1, 3
to_data = b"\x48\x8d\x1d" + struct.pack("<i", DATA - 8)  # lea DATA(%rip), %rbx, at offset 1
programs = {
    "nop": b"\x90\x90\x90",
    "loop": b"\xb9\x03\0\0\0\xff\xc9\x75\xfc",
    "call": b"\xe8\x02\0\0\0\xeb\x01\xc3\x90",
    "rep stosb": to_data + b"\x48\x89\xdf\xb9\x04\0\0\0\xf3\xaa\x90",
    "rep, none": to_data + b"\x48\x89\xdf\x31\xc9\xf3\xaa\x90",
    "mov ss": b"\x8c\xd0\x8e\xd0\x90\x90",
    "mov ss twice": b"\x8c\xd0\x8e\xd0\x8e\xd0\x90\x90",
    "mov ss, int3": b"\x8c\xd0\x8e\xd0\xcc\x90",
    "mov ss, icebp": b"\x8c\xd0\x8e\xd0\xf1\x90",
    "mov ss, ud2": b"\x8c\xd0\x8e\xd0\x0f\x0b",
    "mov ss, jump": b"\x8c\xd0\x8e\xd0\xeb\x01\x90\x90",
    "icebp": b"\xf1\x90",
    "int3": b"\xcc\x90",
    "system call": b"\xb8\x27\0\0\0\x0f\x05\x90",
    "popf": b"\x9c\x9d\x90\x90",
}
watched = to_data + b"\x8b\x03\x90\x89\x03\x90\x88\x43\x04\x90"
shadowed = to_data + b"\x8c\x13\x8e\x13\x90\x90"  # mov %ss, (%rbx); mov (%rbx), %ss
breakpoints = {
    "execution": (b"\x90\x90\x90\x90", [(2, EXECUTE, 1), (3, EXECUTE, 1)]),
    "a write": (watched, [(DATA, WRITE, 4)]),
    "any access": (watched, [(DATA, ACCESS, 4)]),
    "beside": (watched, [(DATA + 4, WRITE, 1)]),
    "two at once": (watched, [(DATA, WRITE, 1), (DATA + 2, WRITE, 2)]),
    "a string": (to_data + b"\x48\x89\xdf\xb9\x04\0\0\0\xf3\xaa\x90", [(DATA + 1, WRITE, 1)]),
    "mov ss, data": (shadowed, [(DATA, ACCESS, 2)]),
    "mov ss, data and execution": (shadowed, [(DATA, ACCESS, 2), (12, EXECUTE, 1), (13, EXECUTE, 1)]),
}


def modify_ldt(entry, base, limit, flags):
    descriptor = struct.pack("<IIII", entry, base, limit, flags)
    return libc.syscall(MODIFY_LDT, 0x11, descriptor, len(descriptor))


def rights(selector, load=b"\x0f\x02\xc1"):
    """What lar, or lsl, gives of a selector; 1 when it gives nothing."""
    page[0:15] = b"\xb9" + struct.pack("<I", selector) + b"\xb8\x01\0\0\0" + load + b"\xc3\x90"
    return ctypes.CFUNCTYPE(ctypes.c_uint32)(BASE)()


class Action(ctypes.Structure):
    _fields_ = [("handler", ctypes.c_void_p), ("mask", ctypes.c_uint64 * 16), ("flags", ctypes.c_int), ("restorer", ctypes.c_void_p)]


class Stack(ctypes.Structure):
    _fields_ = [("at", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]


SA_SIGINFO_ONSTACK = 4 | 0x08000000
stack = ctypes.create_string_buffer(1 << 18)


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
def handler(number, info, context):
    code = ctypes.c_int.from_address(info + 8).value
    error, trap = (ctypes.c_uint64.from_address(context + 40 + 8 * index).value for index in (19, 20))
    print(signal.Signals(number).name, "code", code, "trap", trap, "error", hex(error))
    sys.stdout.flush()
    os._exit(0)


def fault(code):
    """What a handler is told of a fault."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        libc.sigaltstack(ctypes.byref(Stack(ctypes.addressof(stack), 0, len(stack))), None)
        for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP):
            libc.sigaction(int(number), ctypes.byref(Action(ctypes.cast(handler, ctypes.c_void_p), flags=SA_SIGINFO_ONSTACK)), None)
        page[0 : len(code) + 1] = code + b"\xc3"
        ctypes.CFUNCTYPE(None)(BASE)()
        print("none")
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)


far = struct.pack("<Q", 1 << 62)
faults = {
    "division": b"\x31\xc9\xf7\xf1", "ud2": b"\x0f\x0b", "int3": b"\xcc", "icebp": b"\xf1", "hlt": b"\xf4", "int 0x50": b"\xcd\x50",
    "read 0": b"\x31\xc0\x8b\x00", "write 0": b"\x31\xc0\x89\x00", "jump to 0": b"\x31\xc0\xff\xe0",
    "kernel": b"\x48\xb8\0\0\0\0\0\x80\xff\xff\x8b\x00",
    "not canonical": b"\x48\xb8" + far + b"\x8b\x00", "not canonical, rbp": b"\x48\xbd" + far + b"\x8b\x45\x00",
    "not canonical, push": b"\x48\xbc" + far + b"\x50", "selector": b"\xb8\x13\0\0\0\x8e\xd8",
    "beyond the GDT": b"\xb8\xf8\xff\0\0\x8e\xe0", "x87": b"\x6a\x00\x48\xc7\x04\x24\x7b\x03\0\0\xd9\x2c\x24\x58\xd9\xe8\xd9\xee\xde\xf9\x9b",
    "sse": b"\x68\x00\x1d\0\0\x0f\xae\x14\x24\x58\x0f\x57\xc0\x0f\x57\xc9\x0f\x5e\xc1", "alignment": b"\x0f\x28\x44\x24\x01",
    "step": b"\x9c\x80\x4c\x24\x01\x01\x9d\x90", "step, mov ss": b"\x8c\xd0\x9c\x80\x4c\x24\x01\x01\x9d\x8e\xd0\x90",
}

if sys.argv[1:] == ["probe"]:
    child = traced(b"\x90")
    lacking = [] if child is not None else ["steps", "breakpoints"]
    if child is not None:
        end(child)
        stops = run(*breakpoints["execution"][:1], CONT, breakpoints["execution"][1])
        if stops is None or len(stops) != 3:
            lacking.append("breakpoints")
    if modify_ldt(0, 0, 0xFFFFF, 0x51) != 0 or rights(7) == 1:
        lacking.append("descriptors")
    print(" ".join(lacking))
    sys.exit()

if "steps" not in sys.argv:
    print("-- steps")
    for name, code in programs.items():
        print(name, run(code, SINGLESTEP))
        print(name, "at once", run(code, CONT))
if "breakpoints" not in sys.argv:
    print("-- breakpoints")
    for name, (code, places) in breakpoints.items():
        print(name, run(code, CONT, places))
        print(name, "in steps", run(code, SINGLESTEP, places))
print("-- faults")
for name, code in faults.items():
    print(name, end=": ")
    fault(code)
if "descriptors" not in sys.argv:
    print("-- local descriptors")
    # Flags of user_desc: 1 32 bits, 2 and 4 contents, 8 read-only, 16 limit in pages, 32 not present, 64 usable.
    segments = {"data": 0x41, "read-only": 0x49, "expand-down": 0x43, "pages": 0x51, "code": 0x45, "absent": 0x61}
    for entry, (name, flags) in enumerate(segments.items()):
        print(name, modify_ldt(entry, 0x1000, 0xFF, flags), end=" ")
        selector = entry * 8 + 7
        print(hex(rights(selector)), hex(rights(selector, b"\x0f\x03\xc1")), end=" ")
        # Into GS, which nothing else needs, and zero again.
        fault(b"\xb9" + struct.pack("<I", selector) + b"\x8e\xe9\x31\xc0\x8e\xe8")
