/** A link for tests of network devices: keeps what is sent, and sends what a test wants. */
import {
  Frame,
  type FrameLink,
  type FrameStation,
  NO_OFFLOADS,
  type Offloads,
} from '../frame-link.js';

/** A copy of a frame, as one piece. */
export function wholeFrame(frame: Frame): Uint8Array {
  const bytes = new Uint8Array(frame.length);
  frame.copyTo(bytes, 0, 0, bytes.length);
  return bytes;
}

/** A link whose far end is the test. */
export class HeldLink implements FrameLink {
  readonly mac = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56);
  readonly mtu = 1500;
  readonly offloads: Offloads;
  /** Copies of the frames that were taken. */
  readonly sent: Uint8Array[] = [];
  /** Calls of `receiveReady`. */
  readyCalls = 0;
  closed = false;
  station: FrameStation | undefined;
  #room = true;

  constructor(offloads: Offloads = NO_OFFLOADS) {
    this.offloads = offloads;
  }

  /** Whether `send` takes frames; the station hears when it becomes true. */
  set room(room: boolean) {
    const opened = room && !this.#room;
    this.#room = room;
    if (opened) this.station?.sendReady();
  }

  /** Gives a finished frame to the station. */
  deliver(bytes: Uint8Array): boolean {
    return this.station?.receive(new Frame().setPlain(bytes, bytes.length)) ?? false;
  }

  attach(station: FrameStation): void {
    this.station = station;
  }

  send(frame: Frame): boolean {
    if (this.#room) this.sent.push(wholeFrame(frame));
    return this.#room;
  }

  receiveReady(): void {
    this.readyCalls += 1;
  }

  close(): void {
    this.closed = true;
    this.station = undefined;
  }
}
