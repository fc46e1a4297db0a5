/**
 * The devices of a machine for copies of it: what of them is captured, what is opened again, and what
 * cannot be copied.
 */
import { checkLayer, type DiskLayer, layerRuns } from '../backend/disk-layer.js';
import { captureDisk, closeLayer, reopenDisk } from '../backend/open-disk.js';
import type { FrameLink } from '../devices/frame-link.js';
import type { NetSettings } from '../devices/virtio/net.js';
import { PandoError } from '../error.js';
import {
  closeDevices,
  type DeviceDescription,
  type DeviceOptions,
  type DiskLayers,
  type OpenDevices,
  settingsOf,
} from './devices.js';
import { openVmNetwork, type VmNetwork, type VmNetworkOptions } from './vm-network.js';

export { checkLayer, type DiskLayer, layerRuns };

/**
 * @param net whether copies are given networks of their own
 * @throws PandoError SNAPSHOT_DEVICES when a machine with these devices cannot be copied
 */
export function checkCopies({ descriptions, network }: OpenDevices, net: boolean): void {
  for (const device of descriptions) {
    if (device.kind !== 'blk' || device.disk.kind !== 'file' || device.disk.readOnly) continue;
    const message = `the guest writes to the file of ${device.name}: a copy would write to it as well`;
    const remedy = 'give it the disk with mode cow, or ro';
    throw new PandoError('SNAPSHOT_DEVICES', message, { remedy });
  }
  if (network !== undefined && !net) anotherOf(network);
}

/** A network like a machine's for a copy. @throws PandoError SNAPSHOT_DEVICES */
function anotherOf(network: VmNetwork | undefined): VmNetworkOptions {
  if (network?.another !== undefined) return network.another;
  const message = "the machine's network device has a link of a network that is its owner's";
  const remedy = 'give each copy a link: vm.clone(count, { net: () => network.link() })';
  throw new PandoError('SNAPSHOT_DEVICES', message, { remedy });
}

/** What the guest has written to its disks, for others to go on from. The machine stands still. */
export function captureDisks({ descriptions }: OpenDevices): DiskLayers {
  const layers = new Map<string, DiskLayer>();
  try {
    for (const device of descriptions) {
      const layer = device.kind === 'blk' ? captureDisk(device.disk) : undefined;
      if (layer !== undefined) layers.set(device.name, layer);
    }
    return layers;
  } catch (error) {
    closeLayers(layers);
    throw error;
  }
}

export function closeLayers(layers: DiskLayers): void {
  for (const layer of layers.values()) closeLayer(layer);
}

/**
 * The devices once more, for a machine that goes on from a capture of this one.
 * @param net the network that it is given; one like this one's when missing
 * @throws PandoError DISK_UNREADABLE, NET_*, SNAPSHOT_NET_MISMATCH
 */
export async function reopenDevices(
  { descriptions, network }: OpenDevices,
  layers: DiskLayers,
  net?: DeviceOptions['net'],
): Promise<OpenDevices> {
  const devices: DeviceDescription[] = [];
  const links = new Map<string, FrameLink>();
  let opened: VmNetwork | undefined;
  try {
    for (const device of descriptions) {
      const { name } = device;
      if (device.kind === 'blk') {
        devices.push({ ...device, disk: reopenDisk(device.disk, layers.get(name)) });
      } else if (device.kind === 'net') {
        opened = await openVmNetwork(net ?? anotherOf(network));
        links.set(name, opened.link);
        const settings = settingsOf(opened.link);
        checkSameNetwork(device.settings, settings);
        devices.push({ kind: 'net', name, settings });
      } else devices.push(device);
    }
    return { descriptions: devices, links, network: opened };
  } catch (error) {
    closeDevices({ descriptions: devices, links, network: opened });
    throw error;
  }
}

/**
 * Whether a guest can go on with another network: its driver has been told what the first one takes.
 * @throws PandoError SNAPSHOT_NET_MISMATCH
 */
export function checkSameNetwork(
  { mtu, offloads }: Pick<NetSettings, 'mtu' | 'offloads'>,
  now: NetSettings,
): void {
  const { checksum, tso4, tso6 } = offloads;
  const lost =
    (checksum && !now.offloads.checksum) ||
    (tso4 && !now.offloads.tso4) ||
    (tso6 && !now.offloads.tso6);
  if (now.mtu === mtu && !lost) return;
  const what = lost ? 'takes fewer offloads' : `has an MTU of ${now.mtu}, not ${mtu}`;
  throw new PandoError('SNAPSHOT_NET_MISMATCH', `the network ${what}: the guest knows another`, {
    remedy: 'give a network of the same kind and MTU',
  });
}
