/**
 * The host end of a socket device: connections to ports of the guest, and from the guest to listeners here.
 * Packets to the guest wait here while its receive queue is full; packets from it are taken all the same
 * (virtio 1.2, 5.10.6.1).
 */
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import type { HostEnd } from '../devices/virtio/device.js';
import type { VsockLink, VsockPacket } from '../devices/virtio/vsock.js';
import { PandoError } from '../error.js';
import { fillRandom } from './entropy.js';
import { OPERATION, type StreamOwner, TYPE_STREAM, VsockStream } from './vsock-stream.js';

/** The first of the ports that connections of the host come from, and how many there are. */
const FIRST_PORT = 0x4000_0000;
const PORTS = 0x4000_0000;
/** Packets that are taken before others get their turn. */
const BATCH = 64;
/** Connections at a time, and resets that wait for a guest that takes none. */
const CONNECTION_LIMIT = 4096;
const RESET_LIMIT = 256;
/**
 * Milliseconds that a guest has to take the news that its connections are over. Linux always takes it, on a busy
 * machine not at once; the driver of another system may never give an event's buffer back.
 */
const SETTLE_LIMIT = 30_000;

const NOTHING = new Uint8Array(0);

/** A number that no other host end has: those of a machine and of its copies may be in any processes. */
function randomWord(): number {
  const word = new Uint32Array(1);
  fillRandom(new Uint8Array(word.buffer));
  return word[0]!;
}

export class VsockHost implements HostEnd, StreamOwner {
  readonly #link: VsockLink;
  readonly #session = randomWord() || 1;
  readonly #settleLimit: number;
  readonly #streams = new Map<string, VsockStream>();
  readonly #listeners = new Map<number, (stream: Duplex) => void>();
  /** Streams that have something to send, in turn. */
  readonly #ready = new Set<VsockStream>();
  readonly #resets: VsockPacket[] = [];
  /** None that the host end of the machine before may have had. */
  #nextPort = FIRST_PORT + (randomWord() % PORTS);
  #flushing = false;
  /** Until when the guest is waited for. */
  #settled: NodeJS.Timeout | undefined;
  /** The guest is not waited for any more, and has not taken the news yet. */
  #impatient = false;
  /** Why the VM has ended. */
  #ended: Error | undefined;
  #epoch: number;

  /** @param settleLimit milliseconds that a restored guest has to take the news that its connections are over */
  constructor(link: VsockLink, settleLimit = SETTLE_LIMIT) {
    this.#link = link;
    this.#settleLimit = settleLimit;
    this.#epoch = link.epoch;
  }

  /**
   * Connects to a port of the guest. When the VM ends the stream gives what the guest had sent, then fails.
   * @throws PandoError VSOCK_REFUSED, VSOCK_NOT_READY, VSOCK_TOO_MANY, VM_ENDED
   */
  async connect(port: number): Promise<Duplex> {
    if (this.#ended !== undefined) throw this.#ended;
    if (!this.#link.running) {
      throw new PandoError('VSOCK_NOT_READY', 'the guest has no driver for its vsock device yet', {
        remedy: 'wait until the guest has booted; its kernel needs vmw_vsock_virtio_transport',
      });
    }
    if (this.#streams.size >= CONNECTION_LIMIT) throw tooMany();
    const stream = new VsockStream(this, port, this.#nextPort++, OPERATION.REQUEST);
    if (this.#nextPort === FIRST_PORT + PORTS) this.#nextPort = FIRST_PORT;
    this.#link.adopt(this.#session);
    this.#streams.set(keyOf(stream), stream);
    const connected = once(stream, 'connect');
    this.ready(stream);
    await connected;
    return stream;
  }

  /**
   * Takes connections of the guest to a port of the host.
   * @returns what ends that
   * @throws PandoError VSOCK_PORT_TAKEN, VM_ENDED
   */
  listen(port: number, listener: (stream: Duplex) => void): () => void {
    if (this.#ended !== undefined) throw this.#ended;
    if (this.#listeners.has(port)) {
      throw new PandoError('VSOCK_PORT_TAKEN', `vsock port ${port} has a listener already`);
    }
    this.#listeners.set(port, listener);
    return () => this.#listeners.delete(port);
  }

  serve(): void {
    if (this.#ended !== undefined) return;
    const { running, epoch } = this.#link;
    // The driver has reset the device: what was open is not any more.
    if (!running || epoch !== this.#epoch) this.#abandon();
    this.#epoch = epoch;
    if (!running) return;
    this.#link.adopt(this.#session);
    if (this.#impatient && !this.#link.settling) {
      // It has taken the news after all, and ended what was begun meanwhile without a word.
      this.#impatient = false;
      this.#abandon();
    }
    const more = this.#take();
    this.#flush();
    this.#leaveUnused();
    if (more) setImmediate(() => this.serve());
  }

  /** Packets of the guest. @returns whether there may be more */
  #take(): boolean {
    const packets = this.#link.receive(BATCH);
    for (const packet of packets) this.#receive(packet);
    return packets.length === BATCH;
  }

  #receive(packet: VsockPacket): void {
    const stream = this.#streams.get(keyOf(packet));
    if (stream !== undefined) stream.receive(packet);
    else if (packet.operation === OPERATION.REQUEST) this.#accept(packet);
    else if (packet.operation !== OPERATION.RST) this.#refuse(packet);
  }

  #accept(packet: VsockPacket): void {
    const listener = this.#listeners.get(packet.hostPort);
    const full = this.#streams.size >= CONNECTION_LIMIT;
    if (listener === undefined || full || packet.type !== TYPE_STREAM) {
      this.#refuse(packet);
      return;
    }
    const { guestPort, hostPort } = packet;
    const stream = new VsockStream(this, guestPort, hostPort, OPERATION.RESPONSE);
    this.#streams.set(keyOf(stream), stream);
    stream.receive({ ...packet, operation: OPERATION.CREDIT_UPDATE });
    // A listener that throws loses its connection.
    try {
      listener(stream);
    } catch (error) {
      stream.destroy(error as Error);
    }
  }

  #refuse({ guestPort, hostPort, type }: VsockPacket): void {
    if (this.#resets.length >= RESET_LIMIT) return;
    const nothing = { flags: 0, bufferSize: 0, forwarded: 0, data: NOTHING };
    this.#resets.push({ guestPort, hostPort, type, operation: OPERATION.RST, ...nothing });
  }

  ready(stream: VsockStream): void {
    this.#ready.add(stream);
    if (this.#flushing || this.#ended !== undefined) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flushing = false;
      this.#flush();
      this.#leaveUnused();
    });
  }

  over(stream: VsockStream): void {
    this.#streams.delete(keyOf(stream));
  }

  #flush(): void {
    if (this.#ended !== undefined || !this.#link.running) return;
    if (this.#resets.length === 0 && this.#ready.size === 0) return;
    if (this.#settling()) return;
    const sent = new Set<VsockStream>();
    this.#link.send((room) => {
      const reset = this.#resets.shift();
      if (reset !== undefined) return reset;
      for (const stream of this.#ready) {
        const packet = stream.next(room);
        // To the end of the line, or out of it.
        this.#ready.delete(stream);
        if (packet === undefined) continue;
        this.#ready.add(stream);
        sent.add(stream);
        return packet;
      }
      return undefined;
    });
    // Their writers go on, which may call `ready`: the rings are free again.
    for (const stream of sent) stream.settle();
  }

  #settling(): boolean {
    if (this.#impatient || !this.#link.settling) {
      clearTimeout(this.#settled);
      this.#settled = undefined;
      return false;
    }
    this.#settled ??= setTimeout(() => {
      this.#impatient = true;
      this.#flush();
    }, this.#settleLimit);
    return true;
  }

  /** The event would reach the guest behind the first packets of a new host end, and end its connections, too. */
  #leaveUnused(): void {
    const used = this.#streams.size + this.#ready.size + this.#resets.length;
    if (used === 0) this.#link.leave(this.#session);
  }

  finish(): void {
    this.serve();
    let more = this.#link.running;
    while (more) more = this.#take();
  }

  close(reason: Error): void {
    this.#ended = reason;
    clearTimeout(this.#settled);
    for (const stream of [...this.#streams.values()]) stream.fail(reason);
  }

  #abandon(): void {
    for (const stream of [...this.#streams.values()]) stream.abandon();
  }
}

function keyOf({ guestPort, hostPort }: { guestPort: number; hostPort: number }): string {
  return `${guestPort}:${hostPort}`;
}

function tooMany(): PandoError {
  return new PandoError(
    'VSOCK_TOO_MANY',
    `this VM has ${CONNECTION_LIMIT} vsock connections, as many as it may`,
    { remedy: 'close some' },
  );
}
