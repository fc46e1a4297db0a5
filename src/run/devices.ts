/**
 * The devices that a VM has beside its board: from options to what is open, to what every thread's board
 * makes of that, to host ends.
 */
import { VIRTIO_INPUTS, VIRTIO_MMIO_ADDRESS, VIRTIO_MMIO_STRIDE } from '../arch/layout.js';
import { BalloonHost } from '../backend/balloon-host.js';
import type { DiskLayer } from '../backend/disk-layer.js';
import { fillRandom } from '../backend/entropy.js';
import {
  blockSource,
  closeDisk,
  type DiskHandle,
  type DiskMode,
  openDisk,
} from '../backend/open-disk.js';
import { VsockHost } from '../backend/vsock-host.js';
import type { Board } from '../devices/board.js';
import type { DeclaredDevice } from '../devices/declared-device.js';
import type { FrameLink, Offloads } from '../devices/frame-link.js';
import { type Discard, VirtioBalloon } from '../devices/virtio/balloon.js';
import { VirtioBlk } from '../devices/virtio/blk.js';
import type { HostEnd, VirtioDevice, VirtioTransport } from '../devices/virtio/device.js';
import { VirtioMmio } from '../devices/virtio/mmio.js';
import { type NetSettings, VirtioNet } from '../devices/virtio/net.js';
import { type PmemWindow, VirtioPmem } from '../devices/virtio/pmem.js';
import { VirtioRng } from '../devices/virtio/rng.js';
import { VirtioVsock } from '../devices/virtio/vsock.js';
import { PandoError } from '../error.js';
import { openVmNetwork, type VmNetwork, type VmNetworkOptions } from './vm-network.js';

export type { Offloads };

/** A disk of a VM. */
export interface DiskOptions {
  /** Path of a raw file or a block device; several (`ro` only) are one disk, one behind the other. */
  readonly path: string | readonly string[];
  /**
   * `ro`: the guest reads only. `rw`: it writes to the file. `cow`: it writes, and the file stays as it
   * is.
   */
  readonly mode: DiskMode;
}

/** The devices of a VM, as its user asks for them. */
export interface DeviceOptions {
  readonly disks?: readonly DiskOptions[] | undefined;
  readonly rng?: boolean | undefined;
  /** Sockets between guest and host. */
  readonly vsock?: boolean | undefined;
  /** Gives what the guest frees back to the host. */
  readonly balloon?: boolean | undefined;
  readonly net?: FrameLink | 'user' | VmNetworkOptions | undefined;
}

/** The address of a guest on its own socket device: no two guests share one. */
const GUEST_CID = 3;

/** A device that is open, as it can be posted to the threads of the process. */
export type DeviceDescription =
  | { readonly kind: 'rng'; readonly name: string }
  | { readonly kind: 'vsock'; readonly name: string }
  | { readonly kind: 'balloon'; readonly name: string }
  | { readonly kind: 'pmem'; readonly name: string; readonly window: PmemWindow }
  | {
      readonly kind: 'blk';
      readonly name: string;
      readonly options: DiskOptions;
      readonly disk: DiskHandle;
    }
  | { readonly kind: 'net'; readonly name: string; readonly settings: NetSettings };

/** The devices of a VM, and what of them lives on the thread that owns it. */
export interface OpenDevices {
  readonly descriptions: readonly DeviceDescription[];
  /** By the name of the network device. */
  readonly links: ReadonlyMap<string, FrameLink>;
  readonly network?: VmNetwork | undefined;
}

/** A VM without any. */
export const NO_DEVICES: OpenDevices = { descriptions: [], links: new Map() };

/** What guests had written to disks whose files stay as they are, by the names of these. */
export type DiskLayers = ReadonlyMap<string, DiskLayer>;

/**
 * Opens everything that the devices need. The caller closes it, after the machine.
 * @param pmem where persistent memory has been placed
 * @param layers of the capture that the machine goes on from; they stay the caller's
 * @throws PandoError DISK_*, NET_*, DEVICES_TOO_MANY
 */
export async function openDevices(
  options: DeviceOptions,
  pmem?: PmemWindow,
  layers?: DiskLayers,
): Promise<OpenDevices> {
  const { disks = [], rng = false, vsock = false, balloon = false, net } = options;
  const devices: DeviceDescription[] = [];
  const links = new Map<string, FrameLink>();
  let network: VmNetwork | undefined;
  try {
    for (const options of disks) {
      const name = `blk${devices.length}`;
      const disk = openDisk(options.path, options.mode, layers?.get(name));
      devices.push({ kind: 'blk', name, options, disk });
    }
    if (rng) devices.push({ kind: 'rng', name: 'rng' });
    if (vsock) devices.push({ kind: 'vsock', name: 'vsock' });
    if (pmem !== undefined) {
      const { address, bytes } = pmem;
      devices.push({ kind: 'pmem', name: 'pmem', window: { address, bytes } });
    }
    if (net !== undefined) {
      network = await openVmNetwork(net);
      links.set('net0', network.link);
      devices.push({ kind: 'net', name: 'net0', settings: settingsOf(network.link) });
    }
    if (balloon) devices.push({ kind: 'balloon', name: 'balloon' });
    if (devices.length <= VIRTIO_INPUTS.length) {
      return { descriptions: devices, links, network };
    }
    const message = `${devices.length} devices exceed the limit of ${VIRTIO_INPUTS.length}`;
    throw new PandoError('DEVICES_TOO_MANY', message, { remedy: 'give the VM fewer disks' });
  } catch (error) {
    closeDevices({ descriptions: devices, links, network });
    throw error;
  }
}

/** What a device on a link tells its driver. */
export function settingsOf({ mac, mtu, offloads }: FrameLink): NetSettings {
  return { mac, mtu, offloads };
}

export function closeDevices({ descriptions, network }: OpenDevices): void {
  network?.close();
  for (const device of descriptions) if (device.kind === 'blk') closeDisk(device.disk);
}

function makeDevice(description: DeviceDescription, transport: VirtioTransport): VirtioDevice {
  switch (description.kind) {
    case 'rng':
      return new VirtioRng(transport, fillRandom);
    case 'vsock':
      return new VirtioVsock(transport, GUEST_CID, (link) => new VsockHost(link));
    case 'balloon':
      return new VirtioBalloon(transport, (link) => new BalloonHost(link));
    case 'pmem':
      return new VirtioPmem(transport, description.window);
    case 'blk':
      return new VirtioBlk(transport, blockSource(description.disk), description.name);
    case 'net':
      return new VirtioNet(transport, description.settings);
  }
}

/** What a board is told of the devices; the same on each thread. */
export function declareDevices(devices: readonly DeviceDescription[]): DeclaredDevice[] {
  return devices.map((description, index) => {
    const { name } = description;
    return {
      name,
      version: 1,
      address: VIRTIO_MMIO_ADDRESS + index * VIRTIO_MMIO_STRIDE,
      length: VIRTIO_MMIO_STRIDE,
      gsi: VIRTIO_INPUTS[index] ?? 0,
      make: (connections) =>
        new VirtioMmio(name, connections, (transport) => makeDevice(description, transport)),
    };
  });
}

/** The host ends of a machine's devices, on the thread that owns it. */
export class HostEnds {
  readonly #board: Board;
  readonly #ends: readonly (HostEnd | undefined)[];
  #closed = false;

  /**
   * @param board of this thread
   * @param discard discards pages of guest RAM, and returns how many bytes of them there were
   */
  constructor(
    board: Board,
    { links }: OpenDevices,
    discard: (...range: Parameters<Discard>) => number,
  ) {
    this.#board = board;
    this.#ends = board.declared.map((transport) => {
      if (!(transport instanceof VirtioMmio)) return undefined;
      const { device, name } = transport;
      const link = links.get(name);
      if (device instanceof VirtioNet && link !== undefined) device.connect(link);
      if (device.hostEnd instanceof BalloonHost) device.hostEnd.connect(discard);
      return device.hostEnd;
    });
  }

  /** A device has called. */
  ring(device: number): void {
    if (!this.#closed && this.#board.takeDoorbell(device)) this.#ends[device]?.serve();
  }

  /** That of the socket device, if there is one. */
  get vsock(): VsockHost | undefined {
    return this.#ends.find((end) => end instanceof VsockHost);
  }

  /** That of the balloon, if there is one. */
  get balloon(): BalloonHost | undefined {
    return this.#ends.find((end) => end instanceof BalloonHost);
  }

  /** The machine goes on from a saved state. */
  restored(): void {
    for (const end of this.#ends) end?.restored?.();
    for (const end of this.#ends) end?.serve();
  }

  /**
   * The VM has ended, or is closed.
   * @param reason for whoever waits for the guest
   * @param finish whether what the guest has left is taken first: no thread has died with the board
   */
  close(reason: Error, finish: boolean): void {
    if (this.#closed) return;
    if (finish) for (const device of this.#ends.keys()) this.#finish(device);
    this.#closed = true;
    for (const end of this.#ends) end?.close?.(reason);
  }

  #finish(device: number): void {
    const end = this.#ends[device];
    if (end?.finish !== undefined) end.finish();
    else {
      do end?.serve();
      while (this.#board.takeDoorbell(device));
    }
  }
}
