/**
 * What the core asks of the host side. Values of 64 bits pass through HOST_VALUE of the vCPU block:
 * a 64-bit integer in a signature would cost a BigInt a call.
 */

// @ts-ignore: decorator
@external("host", "portIn")
export declare function hostPortIn(port: u32, size: u32): u32;

// @ts-ignore: decorator
@external("host", "portOut")
export declare function hostPortOut(port: u32, size: u32, value: u32): void;

/** Reads `size` (1, 2, 4) bytes at a guest physical address that is not RAM. */
// @ts-ignore: decorator
@external("host", "mmioRead")
export declare function hostMmioRead(low: u32, high: u32, size: u32): u32;

// @ts-ignore: decorator
@external("host", "mmioWrite")
export declare function hostMmioWrite(low: u32, high: u32, size: u32, value: u32): void;

/** Puts the MSR into HOST_VALUE; 0 when there is no such MSR. */
// @ts-ignore: decorator
@external("host", "readMsr")
export declare function hostReadMsr(index: u32): u32;

/** Writes HOST_VALUE to the MSR; 0 when the value or the MSR is refused. */
// @ts-ignore: decorator
@external("host", "writeMsr")
export declare function hostWriteMsr(index: u32): u32;

/** Guest time in nanoseconds, whole. */
// @ts-ignore: decorator
@external("host", "clock")
export declare function hostClock(): f64;

/** Wall-clock time of guest time 0, in milliseconds since 1970. */
// @ts-ignore: decorator
@external("host", "bootTime")
export declare function hostBootTime(): f64;

/** Reads CR8 (the task priority); `hostWriteCr8` writes it. */
// @ts-ignore: decorator
@external("host", "readCr8")
export declare function hostReadCr8(): u32;

// @ts-ignore: decorator
@external("host", "writeCr8")
export declare function hostWriteCr8(value: u32): void;
