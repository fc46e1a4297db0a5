/**
 * The devices that a VM has beside its board: from options to what is open, to what every thread's board
 * makes of that, to host ends.
 */
import { VIRTIO_INPUTS, VIRTIO_MMIO_ADDRESS, VIRTIO_MMIO_STRIDE } from '../arch/layout.js';
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
import { VirtioBlk } from '../devices/virtio/blk.js';
import type { HostEnd, VirtioDevice, VirtioTransport } from '../devices/virtio/device.js';
import { VirtioMmio } from '../devices/virtio/mmio.js';
import { VirtioRng } from '../devices/virtio/rng.js';
import { VirtioVsock } from '../devices/virtio/vsock.js';
import { PandoError } from '../error.js';

/** A disk of a VM. */
export interface DiskOptions {
  /** Path of a raw file or a block device. */
  readonly path: string;
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
}

/** The address of a guest on its own socket device: no two guests share one. */
const GUEST_CID = 3;

/** A device that is open, as it can be posted to the threads of the process. */
export type DeviceDescription =
  | { readonly kind: 'rng'; readonly name: string }
  | { readonly kind: 'vsock'; readonly name: string }
  | { readonly kind: 'blk'; readonly name: string; readonly disk: DiskHandle };

/**
 * Opens everything that the devices need. The caller closes it, after the machine.
 * @throws PandoError DISK_*, DEVICES_TOO_MANY
 */
export function openDevices({
  disks = [],
  rng = false,
  vsock = false,
}: DeviceOptions): DeviceDescription[] {
  const devices: DeviceDescription[] = [];
  try {
    for (const { path, mode } of disks) {
      devices.push({ kind: 'blk', name: `blk${devices.length}`, disk: openDisk(path, mode) });
    }
    if (rng) devices.push({ kind: 'rng', name: 'rng' });
    if (vsock) devices.push({ kind: 'vsock', name: 'vsock' });
    if (devices.length <= VIRTIO_INPUTS.length) return devices;
    const message = `${devices.length} devices exceed the limit of ${VIRTIO_INPUTS.length}`;
    throw new PandoError('DEVICES_TOO_MANY', message, { remedy: 'give the VM fewer disks' });
  } catch (error) {
    closeDevices(devices);
    throw error;
  }
}

export function closeDevices(devices: readonly DeviceDescription[]): void {
  for (const device of devices) if (device.kind === 'blk') closeDisk(device.disk);
}

function makeDevice(description: DeviceDescription, transport: VirtioTransport): VirtioDevice {
  switch (description.kind) {
    case 'rng':
      return new VirtioRng(transport, fillRandom);
    case 'vsock':
      return new VirtioVsock(transport, GUEST_CID, (link) => new VsockHost(link));
    case 'blk':
      return new VirtioBlk(transport, blockSource(description.disk), description.name);
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

  /** @param board of this thread */
  constructor(board: Board) {
    this.#board = board;
    this.#ends = board.declared.map((device) =>
      device instanceof VirtioMmio ? device.device.hostEnd : undefined,
    );
  }

  /** A device has called. */
  ring(device: number): void {
    if (!this.#closed && this.#board.takeDoorbell(device)) this.#ends[device]?.serve();
  }

  /** That of the socket device, if there is one. */
  get vsock(): VsockHost | undefined {
    return this.#ends.find((end) => end instanceof VsockHost);
  }

  /** The machine goes on from a saved state. */
  restored(): void {
    for (const end of this.#ends) end?.serve();
  }

  close(): void {
    this.#closed = true;
    for (const end of this.#ends) end?.close?.();
  }
}
