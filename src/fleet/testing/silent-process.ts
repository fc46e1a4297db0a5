/** The program of a process that never comes to its first word, as one that waits for threads. */
Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60_000);
