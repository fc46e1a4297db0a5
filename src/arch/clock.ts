/** Time as a machine's parts see it. */

/** Guest time: nanoseconds since the VM was created, stopped while the VM is paused. */
export interface Clock {
  now(): number;
}
