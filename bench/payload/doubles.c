/* A loop in doubles; compiled twice, for x87 and for SSE2. */
#include "payload.h"

u32 DOUBLES(u32 turns)
{
    double x = 0.3, sum = 0.0;
    for (u32 i = 1; i <= turns; i++) {
        x = 3.9 * x * (1.0 - x);
        sum += x / ((double)i + 1.5);
    }
    return (u32)(int)(sum * 1e6);
}
