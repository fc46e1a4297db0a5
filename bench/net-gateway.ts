/**
 * What the network's gateway costs: bytes a second of one TCP connection between a link and a stream of
 * this process, without a guest and without the host's network, in segments of 64 KiB and of 1,460
 * bytes.
 *
 *     npm run build && npx tsc -p bench && node dist/benches/net-gateway.js [megabytes, default 2000]
 */
import { Duplex } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { Frame, type FrameStation, NO_OFFLOADS, type Offloads } from '#dist/devices/frame-link.js';
import { read16, read32, write16, write32 } from '#dist/net/bytes.js';
import { checksumOf, sumOf } from '#dist/net/checksum.js';
import { Network } from '#dist/net/network.js';
import type { NetworkLink } from '#dist/net/vm-link.js';

const ALL: Offloads = { checksum: true, tso4: true, tso6: true };
const HEADERS = 54;
const SHIFT = 7;
const ACK = 16;
const SYN = 2;
const MEGABYTE = 2 ** 20;

/** The guest's end: one connection, whose frames are made in place. */
class BareGuest implements FrameStation {
  readonly offloads: Offloads;
  /** Bytes that arrived, and frames. */
  received = 0;
  frames = 0;
  readonly #link: NetworkLink;
  readonly #bytes = new Uint8Array(HEADERS + 65535);
  readonly #frame = new Frame();
  #seq = 1;
  #next = 0;
  #acknowledged = 1;
  #window = 0;
  #shift = 0;
  #ackDue = false;

  constructor(link: NetworkLink, offloads: Offloads) {
    this.#link = link;
    this.offloads = offloads;
    link.attach(this);
    const bytes = this.#bytes;
    bytes.set([0x52, 0x55, 10, 0, 2, 1, ...link.mac, 8, 0, 0x45]);
    bytes[22] = 64;
    bytes[23] = 6;
    write32(bytes, 26, 0x0a000202);
    write32(bytes, 30, 0xc0000201);
    write16(bytes, 34, 40_000);
    write16(bytes, 36, 80);
    write16(bytes, 48, 0xffff);
  }

  receive(frame: Frame): boolean {
    const head = frame.head;
    if (head[23] !== 6) return true;
    this.frames += 1;
    this.#acknowledged = read32(head, 42);
    this.#window = read16(head, 48) << this.#shift;
    const flags = head[47]!;
    const length = frame.length - 34 - (head[46]! >>> 4) * 4;
    if ((flags & SYN) !== 0) {
      this.#next = (read32(head, 38) + 1) >>> 0;
      this.#shift = head[61]!;
      return true;
    }
    if (length === 0) return true;
    this.#next = (read32(head, 38) + length) >>> 0;
    this.received += length;
    this.#ackDue = true;
    return true;
  }

  sendReady(): void {}

  carrier(): void {}

  #send(flags: number, length: number, segment: number): void {
    const bytes = this.#bytes;
    const options = (flags & SYN) !== 0 ? 8 : 0;
    write16(bytes, 16, 40 + options + length);
    write16(bytes, 24, 0);
    write16(bytes, 24, checksumOf(sumOf(bytes, 14, 34)));
    write32(bytes, 38, this.#seq);
    write32(bytes, 42, this.#next);
    bytes[46] = ((20 + options) / 4) << 4;
    bytes[47] = flags;
    if (options > 0) bytes.set([2, 4, 5, 180, 1, 3, 3, SHIFT], 54);
    const frame = this.#frame.setPlain(bytes, HEADERS + options + length);
    frame.flags = 1;
    frame.csumStart = 34;
    frame.csumOffset = 16;
    if (length > segment) {
      frame.gsoType = 1;
      frame.gsoSize = segment;
    }
    this.#link.send(frame);
    this.#seq = (this.#seq + length + (options > 0 ? 1 : 0)) >>> 0;
  }

  async connect(): Promise<void> {
    this.#send(SYN, 0, 1460);
    while (this.#next === 0) await turn();
    this.#send(ACK, 0, 1460);
  }

  /** Sends segments while the window has room. @returns bytes sent */
  fill(length: number): number {
    let sent = 0;
    while (((this.#seq + length - this.#acknowledged) | 0) <= this.#window) {
      this.#send(ACK, length, 1460);
      sent += length;
    }
    return sent;
  }

  acknowledge(): void {
    if (!this.#ackDue) return;
    this.#ackDue = false;
    this.#send(ACK, 0, 1460);
  }
}

/** Gives bytes for ever, and takes all. */
class EndlessStream extends Duplex {
  taken = 0;
  readonly #chunk = Buffer.alloc(64_240);
  readonly #gives: boolean;

  constructor(gives: boolean) {
    super({ writableHighWaterMark: MEGABYTE, readableHighWaterMark: 64_240 });
    this.#gives = gives;
  }

  override _read(): void {
    if (this.#gives) this.push(this.#chunk);
  }

  override _write(chunk: Uint8Array, _encoding: string, done: () => void): void {
    this.taken += chunk.length;
    done();
  }
}

async function measure(
  name: string,
  bytes: number,
  offloads: Offloads,
  gives: boolean,
  segment: number,
): Promise<void> {
  const stream = new EndlessStream(gives);
  const network = new Network({ onConnection: () => stream });
  const link = await network.link();
  const guest = new BareGuest(link, offloads);
  await guest.connect();
  const started = process.hrtime.bigint();
  const before = process.cpuUsage();
  let sent = 0;
  while ((gives ? guest.received : sent) < bytes) {
    if (gives) guest.acknowledge();
    else sent += guest.fill(segment);
    await turn();
  }
  const seconds = Number(process.hrtime.bigint() - started) / 1e9;
  const cpu = process.cpuUsage(before);
  const moved = gives ? guest.received : sent;
  const packets = gives ? guest.frames : sent / segment;
  const rate = (moved / seconds / 1e6).toFixed(0).padStart(6);
  const each = ((seconds * 1e9) / packets).toFixed(0).padStart(7);
  const busy = ((cpu.user + cpu.system) / 1e6).toFixed(2);
  console.log(`${name.padEnd(34)}${rate} MB/s ${each} ns a frame, ${busy} s of processor time`);
  network.close();
}

const megabytes = Number(process.argv[2] ?? '2000');
const all = megabytes * MEGABYTE;
await measure('warm-up', all / 10, ALL, false, 64_240);
await measure('from the guest, 64 KiB segments', all, ALL, false, 64_240);
await measure('from the guest, 1,460-byte segments', all / 10, ALL, false, 1460);
await measure('to the guest, 64 KiB segments', all, ALL, true, 64_240);
await measure('to the guest, 1,460 with checksums', all / 10, NO_OFFLOADS, true, 1460);
