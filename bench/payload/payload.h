/* What the payload's parts know of each other. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

/* 4 MiB each, at 4 MiB boundaries, beyond the payload. */
#define AREA_A ((u8 *)0x800000)
#define AREA_B ((u8 *)0xc00000)
#define AREA_SIZE 0x400000u

u32 doubles_x87(u32 turns);
u32 doubles_sse2(u32 turns);
