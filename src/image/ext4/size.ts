/** Bytes that a file system may have: room for its tables, and descriptors in what one group's copy holds. */
export const EXT4_LEAST = 16 << 20;
export const EXT4_MOST = 2 ** 40;
