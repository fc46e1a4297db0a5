/**
 * A link to passt (https://passt.top), a second implementation of a network without root: one process
 * for one VM. Frames go both ways over a socket pair, each behind its length in 4 bytes, as QEMU's
 * stream netdev has them. The process ends with the link, and with ours, as it then reads the end.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import {
  ETHERNET_HEADER_BYTES,
  Frame,
  type FrameLink,
  type FrameStation,
  MAX_FRAME_BYTES,
  NO_OFFLOADS,
} from '../devices/frame-link.js';
import { PandoError } from '../error.js';
import { parseMac } from './address.js';
import { ARP_BYTES, ARP_REQUEST, writeArp } from './arp.js';
import { read32, write16, write32 } from './bytes.js';
import { BROADCAST_MAC, ETHERTYPE_ARP } from './ethernet.js';

const LENGTH_BYTES = 4;
/** passt's descriptor of its end of the socket pair. */
const PASST_FD = 3;
/** Bytes that wait for passt before the guest has to. */
const QUEUE_LIMIT = 1 << 20;
/** passt answers in milliseconds; a machine under load in a second. */
const START_MS = 20_000;
/** What passt assigns by DHCP when it is told nothing: 802.3's longest, in whole words. */
const DEFAULT_MTU = 65520;
/** Any address but the guest's: passt answers for all of them. */
const PROBED_ADDRESS = 0xa9fe0001;
const DEFAULT_MAC = '52:55:00:00:00:02';

/** How passt is run. */
export interface PasstOptions {
  /** The guest's MAC address. */
  readonly mac?: string;
  /** Bytes of the longest IP packet, 1280–65520. */
  readonly mtu?: number;
  /** The program; `passt` of the PATH when absent. */
  readonly program?: string;
  /** More of passt's own options, e.g. `['-t', '8080:80']`. */
  readonly args?: readonly string[];
}

function missing(program: string, cause: unknown): PandoError {
  return new PandoError('NET_PASST_MISSING', `${program} cannot be run`, {
    cause,
    remedy: "install Debian's package passt, or use --net user",
  });
}

export class PasstLink implements FrameLink {
  readonly mac: Uint8Array;
  readonly mtu: number;
  /** passt reads plain frames. */
  readonly offloads = NO_OFFLOADS;
  readonly #child: ChildProcess;
  readonly #stream: Duplex;
  readonly #frame = new Frame();
  #station: FrameStation | undefined;
  /** Bytes of a frame that is not there as a whole, and of one that the guest has no room for. */
  #received: Buffer = Buffer.alloc(0);
  #guestFull = false;
  #sendReadyDue = false;
  #closed = false;

  /**
   * Starts passt and waits until it answers.
   * @throws PandoError NET_PASST_MISSING, NET_PASST_FAILED, NET_MAC_INVALID
   */
  static async open(options: PasstOptions = {}): Promise<PasstLink> {
    const { program = 'passt', mtu = DEFAULT_MTU, args = [] } = options;
    const mac = parseMac(options.mac ?? DEFAULT_MAC);
    const child = spawn(
      program,
      ['--foreground', '--quiet', '--mtu', String(mtu), '--fd', String(PASST_FD), ...args],
      { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] },
    );
    let complaints = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      complaints = (complaints + text).slice(-1000);
    });
    try {
      await once(child, 'spawn');
    } catch (cause) {
      throw missing(program, cause);
    }
    const link = new PasstLink(child, mac, mtu);
    if (await link.#answers()) return link;
    link.close();
    const [, why = 'it did not answer'] = /([^\n]+)\s*$/.exec(complaints) ?? [];
    throw new PandoError('NET_PASST_FAILED', `${program} does not run: ${why}`, {
      remedy: 'run passt --foreground --stderr by hand, or use --net user',
    });
  }

  private constructor(child: ChildProcess, mac: Uint8Array, mtu: number) {
    this.#child = child;
    this.mac = mac;
    this.mtu = mtu;
    this.#stream = child.stdio[PASST_FD] as Duplex;
    this.#stream.on('data', (chunk: Buffer) => {
      this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
      this.#deliver();
    });
    this.#stream.on('drain', () => this.#drained());
    this.#stream.on('error', () => {});
    this.#stream.on('close', () => this.#lost());
  }

  /** Asks by ARP for a sign of life. */
  async #answers(): Promise<boolean> {
    const probe = new Uint8Array(ETHERNET_HEADER_BYTES + ARP_BYTES);
    probe.set(BROADCAST_MAC, 0);
    probe.set(this.mac, 6);
    write16(probe, 12, ETHERTYPE_ARP);
    const sender = { mac: this.mac, address: 0 };
    const target = { mac: new Uint8Array(6), address: PROBED_ADDRESS };
    writeArp(probe, ETHERNET_HEADER_BYTES, ARP_REQUEST, sender, target);
    this.send(this.#frame.setPlain(probe, probe.length));
    const waiting = new AbortController();
    const { signal } = waiting;
    const timer = setTimeout(() => waiting.abort(), START_MS);
    try {
      const answered = once(this.#stream, 'data', { signal }).then(() => true);
      const ended = once(this.#stream, 'close', { signal }).then(() => false);
      return await Promise.race([answered, ended]).catch(() => false);
    } finally {
      clearTimeout(timer);
      waiting.abort();
    }
  }

  /** The process of passt. */
  get pid(): number {
    return this.#child.pid!;
  }

  attach(station: FrameStation): void {
    this.#station = station;
    if (this.#closed) station.carrier(false);
  }

  send(frame: Frame): boolean {
    if (this.#closed) return true;
    if (this.#stream.writableLength > QUEUE_LIMIT) {
      this.#sendReadyDue = true;
      return false;
    }
    // In one piece, as passt reads a length and its frame with one call.
    const { length } = frame;
    const bytes = Buffer.allocUnsafe(LENGTH_BYTES + length);
    write32(bytes, 0, length);
    frame.copyTo(bytes, LENGTH_BYTES, 0, length);
    this.#stream.write(bytes);
    return true;
  }

  receiveReady(): void {
    if (!this.#guestFull) return;
    this.#guestFull = false;
    this.#deliver();
    if (!this.#guestFull) this.#stream.resume();
  }

  close(): void {
    this.#closed = true;
    this.#station = undefined;
    this.#stream.destroy();
    this.#child.stderr?.destroy();
    this.#child.kill();
  }

  /** Gives the station the whole frames that are there. */
  #deliver(): void {
    let at = 0;
    const bytes = this.#received;
    while (!this.#guestFull && bytes.length - at >= LENGTH_BYTES) {
      const length = read32(bytes, at);
      if (length < ETHERNET_HEADER_BYTES || length > MAX_FRAME_BYTES) {
        this.#stream.destroy();
        return;
      }
      if (bytes.length - at < LENGTH_BYTES + length) break;
      const frame = bytes.subarray(at + LENGTH_BYTES, at + LENGTH_BYTES + length);
      if (this.#station?.receive(this.#frame.setPlain(frame, length)) === false) {
        this.#guestFull = true;
        this.#stream.pause();
      } else at += LENGTH_BYTES + length;
    }
    this.#received = bytes.subarray(at);
  }

  #drained(): void {
    if (!this.#sendReadyDue) return;
    this.#sendReadyDue = false;
    this.#station?.sendReady();
  }

  /** passt is gone: for the guest, the cable is pulled. */
  #lost(): void {
    const station = this.#station;
    if (this.#closed) return;
    this.#closed = true;
    this.#child.kill();
    station?.carrier(false);
  }
}
