/* The workloads of against-v86.ts: freestanding 32-bit code, timed by the host between marks on the serial port. */
#include "payload.h"

static void out8(u16 port, u8 value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static u8 in8(u16 port)
{
    u8 value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void put(const char *text)
{
    for (; *text; text++) {
        while (!(in8(0x3fd) & 0x20))
            ;
        out8(0x3f8, *text);
    }
}

static void put_hex(u32 value)
{
    char text[9];
    for (int i = 0; i < 8; i++)
        text[i] = "0123456789abcdef"[(value >> (28 - 4 * i)) & 15];
    text[8] = 0;
    put(text);
}

/* The compiler may call these. */
void *memcpy(void *to, const void *from, u32 size)
{
    u8 *t = to;
    const u8 *f = from;
    while (size--)
        *t++ = *f++;
    return to;
}

void *memset(void *to, int value, u32 size)
{
    u8 *t = to;
    while (size--)
        *t++ = value;
    return to;
}

static u32 random_state = 1;
static u32 random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

/* Text-like bytes: words of a small vocabulary. */
static void fill(u8 *area, u32 size)
{
    random_state = 1;
    for (u32 at = 0; at < size;) {
        u32 word = random() & 511;
        u32 length = 2 + (word & 7);
        for (u32 i = 0; i < length && at < size; i++)
            area[at++] = 'a' + (word * (i + 3) * 7 % 26);
        if (at < size)
            area[at++] = ' ';
    }
}

static const u32 K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static u32 rotate(u32 x, u32 n)
{
    return x >> n | x << (32 - n);
}

/* FIPS 180-4, 6.2.2: one block. */
static void sha256_block(u32 h[8], const u8 *p)
{
    u32 w[64];
    for (int i = 0; i < 16; i++)
        w[i] = __builtin_bswap32(((const u32 *)p)[i]);
    for (int i = 16; i < 64; i++) {
        u32 s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
        u32 s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    u32 a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], k = h[7];
    for (int i = 0; i < 64; i++) {
        u32 t1 = k + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + w[i];
        u32 t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        k = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e, h[5] += f, h[6] += g, h[7] += k;
}

static u32 sha256(u32 turns)
{
    u32 h[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
    for (u32 turn = 0; turn < turns; turn++)
        for (u32 at = 0; at < AREA_SIZE; at += 64)
            sha256_block(h, AREA_A + at);
    return h[0] ^ h[7];
}

/* Longest matches through hash chains, as deflate searches them. */
static u16 chain_next[0x8000];
static u32 chain_head[0x4000];

static u32 compress(u32 size)
{
    u32 sum = 0;
    memset(chain_head, 0, sizeof chain_head);
    for (u32 at = 1; at + 64 < size;) {
        const u8 *p = AREA_A + at;
        u32 hash = ((p[0] << 8 ^ p[1] << 4 ^ p[2]) * 2654435761u) >> 18;
        u32 candidate = chain_head[hash], best = 0;
        for (int tries = 32; tries && candidate && at - candidate < 0x8000; tries--) {
            const u8 *q = AREA_A + candidate;
            if (q[best] == p[best]) {
                u32 length = 0;
                while (length < 64 && q[length] == p[length])
                    length++;
                if (length > best)
                    best = length;
            }
            u32 distance = chain_next[candidate & 0x7fff];
            candidate = distance && distance < candidate ? candidate - distance : 0;
        }
        chain_next[at & 0x7fff] = at - chain_head[hash] < 0x8000 ? at - chain_head[hash] : 0;
        chain_head[hash] = at;
        sum = sum * 31 + best;
        at += best > 3 ? best : 1;
    }
    return sum;
}

static u32 copy(u32 turns)
{
    u32 sum = 0;
    for (u32 turn = 0; turn < turns; turn++) {
        u32 *to = (u32 *)AREA_B;
        const u32 *from = (const u32 *)AREA_A;
        for (u32 i = 0; i < AREA_SIZE / 4; i += 4) {
            to[i] = from[i] + turn;
            to[i + 1] = from[i + 1];
            to[i + 2] = from[i + 2];
            to[i + 3] = from[i + 3];
        }
        void *t = AREA_B;
        const void *f = AREA_A + (turn & 15);
        u32 n = AREA_SIZE / 4 - 16;
        __asm__ volatile("rep movsl" : "+D"(t), "+S"(f), "+c"(n) : : "memory");
        sum = sum * 31 + to[turn * 977 & (AREA_SIZE / 4 - 1)];
    }
    return sum;
}

static __attribute__((noinline)) u32 fibonacci(u32 n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

/* A byte-code machine: a switch in a loop. */
static u32 machine(u32 turns)
{
    static const u8 program[] = { 0, 1, 2, 3, 1, 4, 5, 2, 0, 6, 3, 7, 1, 2, 5, 4, 8, 0, 3, 6, 9 };
    u32 a = 1, b = 2, at = 0, memory[16] = { 0 };
    for (;;) {
        switch (program[at++]) {
        case 0: a += b; break;
        case 1: b ^= a << 3; break;
        case 2: memory[a & 15] += b; break;
        case 3: a -= memory[b & 15]; break;
        case 4: b = b * 5 + 1; break;
        case 5: a = rotate(a, 5); break;
        case 6: if (a & 1) b++; break;
        case 7: memory[b & 15] ^= a; break;
        case 8: a |= b & 0xff; break;
        default:
            if (!--turns)
                return a ^ b;
            at = 0;
        }
    }
}

/* Two address spaces that map the same addresses to different pages, entered in turn. */
static u32 directories[2][1024] __attribute__((aligned(4096)));
static u32 tables[2][1024] __attribute__((aligned(4096)));

static u32 spaces(u32 turns)
{
    u32 sum = 0;
    for (u32 space = 0; space < 2; space++) {
        for (u32 i = 0; i < 1024; i++)
            directories[space][i] = i << 22 | 0x83;
        for (u32 i = 0; i < 1024; i++)
            tables[space][i] = ((u32)(space ? AREA_B : AREA_A) + (i << 12)) | 3;
        directories[space][0x40000000u >> 22] = (u32)tables[space] | 3;
    }
    __asm__ volatile("mov %0, %%cr3" : : "r"(directories[0]) : "memory");
    u32 cr0;
    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    __asm__ volatile("mov %0, %%cr0" : : "r"(cr0 | 0x80000000u) : "memory");
    for (u32 turn = 0; turn < turns; turn++) {
        __asm__ volatile("mov %0, %%cr3" : : "r"(directories[turn & 1]) : "memory");
        volatile u32 *page = (volatile u32 *)(0x40000000u + ((turn & 15) << 14));
        for (u32 i = 0; i < 16; i++) {
            sum += page[i << 10];
            page[(i << 10) + 1] = sum;
        }
    }
    __asm__ volatile("mov %0, %%cr0" : : "r"(cr0) : "memory");
    return sum;
}

static void run(const char *name, u32 (*workload)(u32), u32 turns)
{
    put("@begin "), put(name), put("\n");
    u32 result = workload(turns);
    put("@end "), put(name), put(" 0\n");
    put("@digest "), put(name), put(" "), put_hex(result), put("\n");
}

void payload(void)
{
    fill(AREA_A, AREA_SIZE);
    run("sha256", sha256, 8);
    run("compress", compress, AREA_SIZE);
    run("x87", doubles_x87, 3000000);
    run("sse2", doubles_sse2, 10000000);
    run("copy", copy, 60);
    run("calls", fibonacci, 34);
    run("machine", machine, 4000000);
    run("spaces", spaces, 300000);
    put("@done\n");
}
