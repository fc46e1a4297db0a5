/**
 * The block device.
 *
 * Source: virtio 1.2, 5.2. Reads and writes are done by the thread that takes the notification, since a
 * page of the host's cache costs less than a change of threads. What waits for the disk (flushes,
 * discards, and for a while everything once the disk was slow) goes to the host end on the VM's I/O
 * thread. Requests are done in order: one that is the host end's stays in the ring until it is done, so
 * that a saved machine has it still.
 */
import type { BlockSource } from './block-source.js';
import type { Chain } from './chain.js';
import type { HostEnd, VirtioDevice, VirtioTransport } from './device.js';
import { QueueError, type VirtQueue } from './queue.js';

const DEVICE_TYPE = 2;
const REQUESTS = 0;

// Features (5.2.3)
const F_SEG_MAX = 1n << 2n;
const F_RO = 1n << 5n;
const F_BLK_SIZE = 1n << 6n;
const F_FLUSH = 1n << 9n;
const F_CONFIG_WCE = 1n << 11n;
const F_DISCARD = 1n << 13n;
const F_WRITE_ZEROES = 1n << 14n;

// Configuration (5.2.4)
const CONFIG_BYTES = 60;
const C_CAPACITY = 0;
const C_SEG_MAX = 12;
const C_BLK_SIZE = 20;
const C_WRITEBACK = 32;
const C_MAX_DISCARD_SECTORS = 36;
const C_MAX_DISCARD_SEG = 40;
const C_DISCARD_ALIGNMENT = 44;
const C_MAX_WRITE_ZEROES_SECTORS = 48;
const C_MAX_WRITE_ZEROES_SEG = 52;
const C_WRITE_ZEROES_MAY_UNMAP = 56;

// Requests (5.2.6)
const T_IN = 0;
const T_OUT = 1;
const T_FLUSH = 4;
const T_GET_ID = 8;
const T_DISCARD = 11;
const T_WRITE_ZEROES = 13;
const S_OK = 0;
const S_IOERR = 1;
const S_UNSUPP = 2;

const SECTOR = 512;
const HEADER_BYTES = 16;
const ID_BYTES = 20;
/** A range of DISCARD and WRITE_ZEROES: sector, number of sectors, flags. */
const RANGE_BYTES = 16;
const RANGE_UNMAP = 1;
const MAX_RANGES = 16;
/** Segments of a request: what fits the queue beside header and status. */
const SEGMENTS = 126;
/** Sectors of one range at most: 1 GiB. */
const RANGE_SECTORS = 2 ** 21;

// State words of the device
/** The first request in the ring is the host end's. */
const S_BUSY = 0;
/** 1 once the driver has chosen write-through (C_WRITEBACK 0). */
const S_WRITE_THROUGH = 1;
/** So many further requests go to the host end, because the disk was slow. */
const S_SLOW = 2;
/** How many those were at the last time, less one for each request since that was not slow. */
const S_SLOWNESS = 3;

/** A read or write that takes longer has waited for the disk, or for a processor, in milliseconds. */
const SLOW = 20;
/** Requests that go to the host end then: at first, times which the next time, and at most. */
const SLOW_REQUESTS_FIRST = 2;
const SLOW_REQUESTS_GROWTH = 4;
const SLOW_REQUESTS_LAST = 64;

interface Request {
  readonly type: number;
  /** First byte on the disk. */
  readonly at: number;
  /** Bytes of data, either way. */
  readonly length: number;
}

export class VirtioBlk implements VirtioDevice, HostEnd {
  readonly type = DEVICE_TYPE;
  readonly features: bigint;
  readonly queues = 1;
  readonly #transport: VirtioTransport;
  readonly #source: BlockSource;
  readonly #id: string;
  readonly #configuration = new Uint8Array(CONFIG_BYTES);

  /** @param id what the guest sees as its serial number, at most 20 characters */
  constructor(transport: VirtioTransport, source: BlockSource, id: string) {
    this.#transport = transport;
    this.#source = source;
    this.#id = id;
    const writable = F_FLUSH | F_CONFIG_WCE | F_DISCARD | F_WRITE_ZEROES;
    this.features = F_SEG_MAX | F_BLK_SIZE | (source.readOnly ? F_RO : writable);
    const view = new DataView(this.#configuration.buffer);
    view.setBigUint64(C_CAPACITY, BigInt(Math.floor(source.bytes / SECTOR)), true);
    view.setUint32(C_SEG_MAX, SEGMENTS, true);
    view.setUint32(C_BLK_SIZE, SECTOR, true);
    view.setUint32(C_MAX_DISCARD_SECTORS, RANGE_SECTORS, true);
    view.setUint32(C_MAX_DISCARD_SEG, MAX_RANGES, true);
    view.setUint32(C_DISCARD_ALIGNMENT, source.blockBytes / SECTOR, true);
    view.setUint32(C_MAX_WRITE_ZEROES_SECTORS, RANGE_SECTORS, true);
    view.setUint32(C_MAX_WRITE_ZEROES_SEG, MAX_RANGES, true);
    view.setUint8(C_WRITE_ZEROES_MAY_UNMAP, 1);
  }

  get hostEnd(): HostEnd {
    return this;
  }

  get configuration(): Uint8Array {
    this.#configuration[C_WRITEBACK] = this.#transport.state[S_WRITE_THROUGH] === 0 ? 1 : 0;
    return this.#configuration;
  }

  configure(offset: number, bytes: Uint8Array): void {
    if (offset !== C_WRITEBACK || bytes.length !== 1) return;
    if ((this.#transport.features & F_CONFIG_WCE) === 0n) return;
    this.#transport.state[S_WRITE_THROUGH] = bytes[0] === 0 ? 1 : 0;
  }

  /** Whether a write is done only once it is on the disk (5.2.6.2). */
  get #writesThrough(): boolean {
    const { features, state } = this.#transport;
    if ((features & F_CONFIG_WCE) !== 0n) return state[S_WRITE_THROUGH] !== 0;
    return (features & F_FLUSH) === 0n;
  }

  process(): void {
    const { state } = this.#transport;
    this.#transport.drain(REQUESTS, (queue) => {
      if (state[S_BUSY] !== 0) return false;
      const chain = queue.pop();
      if (chain === undefined) return false;
      const request = parse(chain);
      if (this.#isSlow(request)) {
        queue.unpop();
        state[S_BUSY] = 1;
        this.#transport.ring();
        return false;
      }
      const started = performance.now();
      const status = this.#status(() => this.#doNow(chain, request));
      this.#took(performance.now() - started);
      finish(queue, chain, status);
      return true;
    });
  }

  #isSlow({ type }: Request): boolean {
    if (type === T_GET_ID) return false;
    if (type !== T_IN && type !== T_OUT) return true;
    if (type === T_OUT && this.#writesThrough) return true;
    return this.#transport.state[S_SLOW] !== 0;
  }

  /**
   * A thread that waited for a processor looks like one that waited for the disk, and changes of threads cost most on
   * a host that has none to spare. So one slow request sends few others to the host end, several in a row send many.
   */
  #took(milliseconds: number): void {
    const { state } = this.#transport;
    const slowness = state[S_SLOWNESS]!;
    if (milliseconds > SLOW) {
      const more = Math.max(SLOW_REQUESTS_FIRST, SLOW_REQUESTS_GROWTH * slowness);
      state[S_SLOW] = Math.min(more, SLOW_REQUESTS_LAST);
      state[S_SLOWNESS] = state[S_SLOW];
    } else if (slowness > 0) state[S_SLOWNESS] = slowness - 1;
  }

  #status(body: () => number): number {
    try {
      return body();
    } catch {
      return S_IOERR;
    }
  }

  /** Whether a transfer lies on the disk, in whole sectors. */
  #fits({ at, length }: Request): boolean {
    const { bytes } = this.#source;
    return length % SECTOR === 0 && at <= bytes && length <= bytes - at;
  }

  #doNow(chain: Chain, request: Request): number {
    const { type, at, length } = request;
    if (type === T_GET_ID) {
      const id = new Uint8Array(ID_BYTES);
      id.set(new TextEncoder().encode(this.#id).subarray(0, ID_BYTES));
      chain.write(0, id.subarray(0, length));
      return S_OK;
    }
    if (!this.#fits(request)) return S_IOERR;
    if (type === T_IN) this.#source.read(at, chain.writablePieces(0, length));
    else if (this.#source.readOnly) return S_IOERR;
    else this.#source.write(at, chain.readablePieces(HEADER_BYTES, HEADER_BYTES + length));
    return S_OK;
  }

  /**
   * The host end: does the first request of the ring, beside the thread, and goes on with the others.
   * Called when the device rings, and after a restore. On the VM's I/O thread.
   */
  serve(): void {
    let work: Promise<number> | undefined;
    let data: Uint8Array | undefined;
    const { state } = this.#transport;
    const epoch = this.#transport.epoch;
    this.#transport.exclusive(() => {
      if (state[S_BUSY] === 0) return;
      const queue = this.#transport.queue(REQUESTS);
      const chain = queue.pop();
      if (chain === undefined) throw new QueueError('a request has been taken back');
      queue.unpop();
      const request = parse(chain);
      data = new Uint8Array(request.length);
      if (request.type !== T_IN) chain.read(HEADER_BYTES, data);
      work = this.#doSlowly(request, data).catch(() => S_IOERR);
    });
    void work?.then((status) => {
      this.#transport.exclusive(() => {
        if (this.#transport.epoch === epoch) this.#complete(status, data);
      });
    });
  }

  async #doSlowly(request: Request, data: Uint8Array): Promise<number> {
    const { type, at } = request;
    const source = this.#source;
    if (type === T_IN) {
      if (!this.#fits(request)) return S_IOERR;
      await source.readSlowly(at, data);
      return S_OK;
    }
    if (type === T_FLUSH) {
      await source.flush();
      return S_OK;
    }
    if (type !== T_OUT && type !== T_DISCARD && type !== T_WRITE_ZEROES) return S_UNSUPP;
    if (source.readOnly) return S_IOERR;
    if (type === T_OUT) {
      if (!this.#fits(request)) return S_IOERR;
      await source.writeSlowly(at, data);
      if (this.#writesThrough) await source.flush();
      return S_OK;
    }
    return this.#zeroRanges(type, data);
  }

  /** DISCARD and WRITE_ZEROES (5.2.6.2): nothing is done when one of the ranges is wrong. */
  async #zeroRanges(type: number, data: Uint8Array): Promise<number> {
    const count = data.length / RANGE_BYTES;
    if (!Number.isInteger(count) || count === 0 || count > MAX_RANGES) return S_IOERR;
    const view = new DataView(data.buffer, data.byteOffset, data.length);
    const ranges: { at: number; length: number; unmap: boolean }[] = [];
    for (let i = 0; i < count; i += 1) {
      const at = Number(view.getBigUint64(i * RANGE_BYTES, true)) * SECTOR;
      const length = view.getUint32(i * RANGE_BYTES + 8, true) * SECTOR;
      const flags = view.getUint32(i * RANGE_BYTES + 12, true);
      const known = type === T_WRITE_ZEROES ? RANGE_UNMAP : 0;
      if ((flags & ~known) !== 0) return S_UNSUPP;
      if (length > RANGE_SECTORS * SECTOR || !this.#fits({ type, at, length })) return S_IOERR;
      ranges.push({ at, length, unmap: type === T_DISCARD || flags !== 0 });
    }
    for (const { at, length, unmap } of ranges) await this.#source.zero(at, length, unmap);
    return S_OK;
  }

  /** The first request of the ring is done. */
  #complete(status: number, data: Uint8Array | undefined): void {
    const { state } = this.#transport;
    const queue = this.#transport.queue(REQUESTS);
    const chain = queue.pop();
    if (chain === undefined) throw new QueueError('a request has been taken back');
    const request = parse(chain);
    if (request.type === T_IN && data !== undefined && status === S_OK) chain.write(0, data);
    finish(queue, chain, status);
    state[S_BUSY] = 0;
    if (state[S_SLOW] !== 0) state[S_SLOW] = state[S_SLOW]! - 1;
    this.process();
  }
}

/** @throws QueueError when header or status byte are missing */
function parse(chain: Chain): Request {
  const header = new Uint8Array(HEADER_BYTES);
  if (chain.read(0, header) < HEADER_BYTES || chain.writableBytes === 0) {
    throw new QueueError('a block request lacks its header or its status byte');
  }
  const view = new DataView(header.buffer);
  const type = view.getUint32(0, true);
  const reads = type === T_IN || type === T_GET_ID;
  const length = reads ? chain.writableBytes - 1 : chain.readableBytes - HEADER_BYTES;
  return { type, at: Number(view.getBigUint64(8, true)) * SECTOR, length };
}

/** Gives a request back, its status in the last byte of the writable part, which thus is written whole. */
function finish(queue: VirtQueue, chain: Chain, status: number): void {
  chain.write(chain.writableBytes - 1, Uint8Array.of(status));
  queue.push(chain, chain.writableBytes);
}
