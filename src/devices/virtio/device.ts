/**
 * The contract between a virtio device and its transport: a device does not know how its registers are
 * reached. Source: virtio 1.2, chapter 2.
 */
import type { DeviceMemory } from '../device-memory.js';
import type { VirtQueue } from './queue.js';

/** Feature bits that every device has (6). */
export const VIRTIO_F_INDIRECT_DESC = 1n << 28n;
export const VIRTIO_F_EVENT_IDX = 1n << 29n;
export const VIRTIO_F_VERSION_1 = 1n << 32n;

/** What a device is given by its transport. */
export interface VirtioTransport {
  /** DEVICE_PRIVATE_WORDS words that start as zeros and are saved with the machine. */
  readonly state: Uint32Array;
  /** What the driver has negotiated. */
  readonly features: bigint;
  /** Counts the driver's resets: what was begun in another epoch is not the driver's any more. */
  readonly epoch: number;
  /** The driver is ready, and nothing is wrong with its rings. */
  readonly running: boolean;
  /** Guest RAM, for addresses that are not in descriptors. */
  readonly memory: DeviceMemory;
  queue(index: number): VirtQueue;
  /** Interrupts the driver if it wants that for what was pushed to the queue. */
  signal(index: number): void;
  /**
   * Takes every chain of a queue: with notifications off, until there is none left, then once more.
   * @param each returns false to stop: the chain has been put back, or is kept by the device
   */
  drain(index: number, each: (queue: VirtQueue) => boolean): void;
  /** Asks to be notified of a queue's next chain; true when one is there already. */
  listen(index: number): boolean;
  /** Asks to be notified of what the driver adds to a queue whose chains wait. */
  expectFurther(index: number): void;
  /** The configuration has changed: the driver is told (2.5). */
  configurationChanged(): void;
  /** Calls the host end. */
  ring(): void;
  /**
   * Runs `body` with the device's rings for itself, if the driver is ready. A fault of the driver in it
   * stops the device, and nothing else. For host ends; `process` is called so.
   */
  exclusive(body: () => void): void;
}

/** The host end of a device, on the VM's I/O thread. */
export interface HostEnd {
  /** The device has rung; also once after a restore. */
  serve(): void;
  /** The machine goes on from a saved state, with this host end in place of another; before `serve`. */
  restored?(): void;
  /** No vCPU runs any more: takes all that the guest has left, in place of `serve`. */
  finish?(): void;
  /** The VM has ended: lets go of everything. @param reason for whoever waits for the guest */
  close?(reason: Error): void;
}

export interface VirtioDevice {
  /** Device ID (5). */
  readonly type: number;
  /** What it offers beside VERSION_1, INDIRECT_DESC and EVENT_IDX. */
  readonly features: bigint;
  readonly queues: number;
  /** Bytes of its configuration, as they are now. */
  readonly configuration: Uint8Array;
  /** For the thread that owns the VM; undefined when the device does everything itself. */
  readonly hostEnd?: HostEnd;
  /** The driver has read bytes of the configuration. */
  configurationRead?(offset: number, size: number): void;
  /** The driver wrote to the configuration (few devices have anything writable). */
  configure?(offset: number, bytes: Uint8Array): void;
  /** The driver has made chains available in a queue. Exclusive; on the thread of the exit. */
  process(queue: number): void;
  /** The driver is ready: queues and features are final. As `process`. */
  start?(): void;
  /** The device is as after power-on; its state words are zeros already. */
  reset?(): void;
}
