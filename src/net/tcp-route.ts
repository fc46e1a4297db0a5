/** The way from the gateway to a guest's end of a TCP connection, and what tells it from others. */
import type { FlowKey } from './flow-table.js';
import type { PacketSender, Station } from './packet-sender.js';
import type { OutgoingSegment, PathWaiter, TcpPath } from './tcp/path.js';

/** IPv4 and TCP headers without options. */
const HEADER_BYTES = 40;
/** The longest TCP payload of one packet. */
const LONGEST_PAYLOAD = 65535 - HEADER_BYTES;

export class TcpRoute implements TcpPath, FlowKey {
  readonly guestAddress: number;
  readonly guestPort: number;
  readonly farAddress: number;
  readonly farPort: number;
  readonly #station: Station;
  readonly #sender: PacketSender;

  constructor(station: Station, key: FlowKey, sender: PacketSender) {
    this.guestAddress = key.guestAddress;
    this.guestPort = key.guestPort;
    this.farAddress = key.farAddress;
    this.farPort = key.farPort;
    this.#station = station;
    this.#sender = sender;
  }

  get station(): Station {
    return this.#station;
  }

  payloadLimit(mss: number): number {
    if (!this.#station.port.stationOffloads.tso4) return mss;
    return Math.floor(LONGEST_PAYLOAD / mss) * mss;
  }

  send(segment: OutgoingSegment): boolean {
    return this.#sender.tcp(this.#station, this.farAddress, segment);
  }

  wait(waiter: PathWaiter, expendable = false): void {
    this.#station.port.wait(waiter, expendable);
  }
}
