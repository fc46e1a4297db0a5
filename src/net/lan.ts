/**
 * The switch of one LAN: forwards frames between its ports and the gateway by the stations' MAC
 * addresses, and takes from a port only what its station may send. A station has the MAC address of its
 * port; more addresses behind a port (a bridge in the guest) are learned, a few, and never from
 * a port that does not own them.
 */
import { ETHERNET_HEADER_BYTES, Frame, MAX_FRAME_BYTES } from '../devices/frame-link.js';
import { DESTINATION, isGroup, macKey, SOURCE } from './ethernet.js';
import { offloadIsSound } from './finish.js';
import type { Port, PortOwner } from './port.js';
import { SenderGuard } from './sender-guard.js';

/** MAC addresses of a port beside its own. */
const LEARNED_LIMIT = 8;

/** The gateway, as the switch sees it. */
export interface GatewayStation {
  readonly mac: Uint8Array;
  readonly address: number;
  /** A frame for the gateway or for everybody, in one piece (`bodyLength` 0). */
  receive(port: Port, frame: Frame): void;
  /** The port is gone, with all that was open on it. */
  detached(port: Port): void;
}

export class Lan implements PortOwner {
  readonly #gateway: GatewayStation;
  readonly #gatewayKey: number;
  readonly #ports = new Set<Port>();
  readonly #stations = new Map<number, Port>();
  readonly #learned = new Map<Port, number>();
  readonly #guard: SenderGuard;
  readonly #whole = new Frame();
  #wholeBytes = new Uint8Array(0);

  constructor(gateway: GatewayStation) {
    this.#gateway = gateway;
    this.#gatewayKey = macKey(gateway.mac, 0);
    this.#guard = new SenderGuard(gateway.address);
  }

  get ports(): Iterable<Port> {
    return this.#ports;
  }

  /** Adds a port. @returns false when its MAC address is taken */
  add(port: Port): boolean {
    const key = macKey(port.mac, 0);
    if (key === this.#gatewayKey || this.#stations.has(key)) return false;
    this.#ports.add(port);
    this.#stations.set(key, port);
    this.#guard.own(port, port.address);
    return true;
  }

  /** The port that has an IPv4 address. */
  portOf(address: number): Port | undefined {
    return this.#guard.ownerOf(address);
  }

  detached(port: Port): void {
    this.#ports.delete(port);
    this.#learned.delete(port);
    for (const [key, owner] of this.#stations) if (owner === port) this.#stations.delete(key);
    this.#guard.forget(port);
    this.#gateway.detached(port);
  }

  ingress(port: Port, frame: Frame): void {
    if (!this.#admits(port, frame)) {
      port.counters.rejected += 1;
      return;
    }
    const { head } = frame;
    if (isGroup(head, DESTINATION)) {
      for (const other of this.#ports) if (other !== port) other.forward(frame);
      this.#toGateway(port, frame);
      return;
    }
    const key = macKey(head, DESTINATION);
    if (key === this.#gatewayKey) this.#toGateway(port, frame);
    else {
      const other = this.#stations.get(key);
      if (other !== undefined && other !== port) other.forward(frame);
    }
  }

  #admits(port: Port, frame: Frame): boolean {
    if (frame.headLength < ETHERNET_HEADER_BYTES || frame.length > MAX_FRAME_BYTES) return false;
    if (!offloadIsSound(frame) || isGroup(frame.head, SOURCE)) return false;
    return this.#admitsMac(port, macKey(frame.head, SOURCE)) && this.#guard.admits(port, frame);
  }

  #admitsMac(port: Port, key: number): boolean {
    const owner = this.#stations.get(key);
    if (owner !== undefined) return owner === port;
    const learned = this.#learned.get(port) ?? 0;
    if (key === this.#gatewayKey || learned >= LEARNED_LIMIT) return false;
    this.#learned.set(port, learned + 1);
    this.#stations.set(key, port);
    return true;
  }

  #toGateway(port: Port, frame: Frame): void {
    if (frame.bodyLength === 0) {
      this.#gateway.receive(port, frame);
      return;
    }
    if (this.#wholeBytes.length < frame.length) this.#wholeBytes = new Uint8Array(MAX_FRAME_BYTES);
    frame.copyTo(this.#wholeBytes, 0, 0, frame.length);
    const whole = this.#whole.setPlain(this.#wholeBytes, frame.length);
    whole.flags = frame.flags;
    this.#gateway.receive(port, whole);
  }
}
