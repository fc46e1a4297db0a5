"""Processes, threads, signals and machine code: what the kernel does for programs at its edges."""
import ctypes
import math
import mmap
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
import zlib

libc = ctypes.CDLL(None, use_errno=True)
MAP_32BIT = 0x40


def page_of(code, flags=0, size=4096):
    page = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | flags, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    return page


def address_of(page):
    return ctypes.addressof(ctypes.c_char.from_buffer(page))


def function(page, offset=0, arguments=(), result=ctypes.c_uint64):
    return ctypes.CFUNCTYPE(result, *arguments)(address_of(page) + offset)


def fate(action, *arguments):
    """How a child that does something ends."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            action(*arguments)
        finally:
            os._exit(77)
    status = os.waitpid(child, 0)[1]
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}"


print("-- code that changes")
page = page_of(b"\xb8\x01\x00\x00\x00\xc3")  # mov $1, %eax; ret
call = function(page)
total = []
for n in range(200):
    page[1:5] = struct.pack("<I", n * 12345)
    total.append(call())
print(total[:5], zlib.crc32(repr(total).encode()))
# The code writes into its own next instruction: lea 5(%rip), %rdx; mov %dil, 1(%rdx); nop; mov $0, %eax; ret
page[0:20] = b"\x48\x8d\x15\x05\x00\x00\x00" + b"\x40\x88\x7a\x01" + b"\x90" + b"\xb8\x00\x00\x00\x00" + b"\xc3\x90\x90"
call = function(page, 0, (ctypes.c_uint64,))
print([call(n) for n in (1, 2, 3, 255, 0)])
two = page_of(b"\x90" * 8190, size=8192)
two[4090:4102] = b"\x90" * 4 + b"\xb8\x44\x33\x22\x11\xc3\x90\x90"  # an instruction across two pages
call = function(two, 4080)
for value in (0x11223344, 0xdeadbeef, 7):
    two[4095:4099] = struct.pack("<I", value)
    print(hex(call()), end=" ")
print()
mapped = []
for n in range(20):
    other = page_of(b"\xb8" + struct.pack("<I", n) + b"\xc3", MAP_32BIT)
    mapped.append(function(other)())
    child = fate(lambda: (other.__setitem__(slice(1, 5), b"\x63\0\0\0"), os._exit(function(other)())))
    mapped.append((child, function(other)()))
    del other
print(mapped)

print("-- faults")
# Not SYSEXIT: AMD's processors do not have it in long mode (APM vol. 3), Intel's fault as on any privilege.
codes = {
    "ud2": b"\x0f\x0b", "int3": b"\xcc", "hlt": b"\xf4", "cli": b"\xfa", "in": b"\xec", "rdmsr": b"\x0f\x32", "mov cr3": b"\x0f\x20\xd8",
    "div by zero": b"\x31\xc9\xf7\xf1\xc3", "idiv overflow": b"\xb8\x00\x00\x00\x80\x99\x83\xc9\xff\xf7\xf9\xc3",
    "int 0x81": b"\xcd\x81", "read 0": b"\x31\xc0\x8b\x00\xc3", "write 0": b"\x31\xc0\x89\x00\xc3", "jump to 0": b"\x31\xc0\xff\xe0",
    "not canonical": b"\x48\xb8\0\0\0\0\0\0\0\x80\x8b\x00\xc3", "kernel address": b"\x48\xb8\0\0\0\0\0\x80\xff\xff\x8b\x00\xc3",
    "stack gone": b"\x31\xe4\x50\xc3", "single step": b"\x9c\x80\x4c\x24\x01\x01\x9d\x90\xc3", "lock nop": b"\xf0\x90\xc3",
    "movaps misaligned": b"\x0f\x28\x44\x24\x01\xc3", "movups misaligned": b"\x0f\x10\x44\x24\x01\xc3",
    "x87 unmasked": b"\x6a\x00\x48\xc7\x04\x24\x7b\x03\0\0\xd9\x2c\x24\x58\xd9\xe8\xd9\xee\xde\xf9\x9b\xc3",
    "SSE unmasked": b"\x68\x00\x1d\0\0\x0f\xae\x14\x24\x58\x0f\x57\xc0\x0f\x57\xc9\x0f\x5e\xc1\xc3",
    "MXCSR reserved": b"\x6a\xff\x0f\xae\x14\x24\x58\xc3",
    "alignment check": b"\x9c\x81\x0c\x24\0\0\4\0\x9d\x8b\x44\x24\x01\x9c\x81\x24\x24\xff\xff\xfb\xff\x9d\xc3",
    "16 bytes long": b"\x66" * 15 + b"\x90\xc3", "15 bytes long": b"\x66" * 14 + b"\x90\xc3", "into": b"\xce", "far jump": b"\x48\x31\xc0\xff\x28",
    "null selector": b"\x31\xc0\x8e\xd0\xc3", "LDT selector": b"\xb8\x0f\0\0\0\x8e\xd8\xc3", "sysret": b"\x0f\x07",
    "lgdt": b"\x0f\x01\x10", "invlpg": b"\x0f\x01\x38", "clts": b"\x0f\x06", "wbinvd": b"\x0f\x09", "swapgs": b"\x0f\x01\xf8", "icebp": b"\xf1",
}
for name, code in codes.items():
    page = page_of(code)
    print(name, fate(function(page)))
data = ctypes.create_string_buffer(b"\xc3" * 16)
print("no execution", fate(ctypes.CFUNCTYPE(None)(ctypes.addressof(data))))
libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
written = mmap.mmap(-1, 8192)
where = address_of(written)
libc.mprotect(where + 4096, 4096, 1)
print("read-only page", fate(ctypes.memset, where + 4090, 1, 100), fate(ctypes.memset, where, 1, 4096))

# Some hosts let processes execute no 32-bit code.
if "--without-compatibility-mode" not in sys.argv:
    print("-- compatibility mode")
    # 64-bit: push the return address's selector and offset, far-jump to 32-bit code, which makes a system call by
    # int $0x80 (getpid is 20, write 4, exit 1), adds with 32-bit-only instructions and far-jumps back.
    code32 = (b"\xb8\x01\x00\x00\x00\x40\x40\x48"  # mov $1, %eax; inc %eax; inc %eax; dec %eax
              b"\x27\x37\x2f"  # daa; aaa; das
              b"\x60\x61"  # pusha; popa
              b"\x89\xc6\xb8\x14\x00\x00\x00\xcd\x80\x89\xf0")  # keep %eax; getpid; restore
    low = page_of(bytes(4096), MAP_32BIT, 8192)
    base = address_of(low)
    program = (b"\x53\x55\x56\x57\x48\x89\xe3\x49\x89\xdf"  # push rbx, rbp, rsi, rdi; mov %rsp, %rbx; mov %rbx, %r15
               + b"\xbc" + struct.pack("<I", base + 8000)  # mov $stack, %esp
               + b"\xff\x2c\x25" + struct.pack("<I", base + 3000))  # ljmp *pointer32
    back = (b"\x4c\x89\xfc\x5f\x5e\x5d\x5b\xc3")  # mov %r15, %rsp; pop rdi, rsi, rbp, rbx; ret
    low[0:len(program)] = program
    low[1000:1000 + len(code32)] = code32
    low[1000 + len(code32):1007 + len(code32)] = b"\xea" + struct.pack("<IH", base + 2000, 0x33)
    low[2000:2000 + len(back)] = back
    low[3000:3006] = struct.pack("<IH", base + 1000, 0x23)
    print([hex(function(low)() & 0xffffffff) for _ in range(3)])
    low[1000:1012] = b"\xb8\x01\0\0\0\xbb\x2a\0\0\0\xcd\x80"  # exit(42)
    print(fate(function(low)))
    low[1000:1002] = b"\xce\xf4"  # into, hlt
    print(fate(function(low)))

print("-- signals and floating point")
ticks = 0


def tick(_signal, _frame):
    global ticks
    ticks += 1
    math.sqrt(math.exp(math.sin(ticks)))


signal.signal(signal.SIGALRM, tick)
signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
total = 0.0
for n in range(1, 60000):
    total += math.sqrt(n) / (n + 0.5) - math.cos(n) * 1e-3
signal.setitimer(signal.ITIMER_REAL, 0)
print(total.hex(), ticks > 0)
received = []
for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGRTMIN + 3):
    signal.signal(number, lambda n, _: received.append(n))
    os.kill(os.getpid(), number)
print(received)
print(fate(os.abort), fate(signal.raise_signal, signal.SIGKILL))

print("-- threads and processes")
done = queue.Queue()


def work(seed):
    value, real = seed, seed / 7
    for _ in range(4000):
        value = (value * 6364136223846793005 + 1442695040888963407) % 2**64
        real = math.fmod(real * 1.000123 + value % 1000, 97.25)
    done.put((seed, value, real.hex()))


threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(sorted(done.get() for _ in threads))
pipes = []
for n in range(6):
    reading, writing = os.pipe()
    if os.fork() == 0:
        x = n + 0.25
        for k in range(5000):
            x = math.sqrt(x * x + k) if k % 3 else math.atan(x) + k
        os.write(writing, x.hex().encode())
        os._exit(n)
    os.close(writing)
    pipes.append(reading)
print([os.read(p, 100).decode() for p in pipes], sorted(os.waitstatus_to_exitcode(os.wait()[1]) for _ in pipes))
shared = mmap.mmap(-1, 4096)
lock = threading.Lock()
if os.fork() == 0:
    shared[0:5] = b"child"
    os._exit(0)
os.wait()
print(bytes(shared[0:5]), subprocess.run(["bash", "-c", "echo $((6 * 7)); exit 3"], capture_output=True))
blocks = [bytearray([n % 256]) * 70000 for n in range(100)]
print(zlib.crc32(b"".join(blocks)))
