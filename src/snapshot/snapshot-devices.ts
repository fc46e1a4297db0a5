/** The devices of a machine that goes on from a snapshot. */
import { PandoError } from '../error.js';
import { checkSameNetwork } from '../run/device-copies.js';
import { closeDevices, type DeviceOptions, type OpenDevices, openDevices } from '../run/devices.js';
import type { GuestImages } from '../run/images.js';
import type { SnapshotManifest } from './manifest.js';
import type { OpenSnapshot } from './open-snapshot.js';

/** @throws PandoError SNAPSHOT_NET_ABSENT, SNAPSHOT_NET_NEEDED */
function networkFor(
  { name, net }: SnapshotManifest,
  given: DeviceOptions['net'],
): DeviceOptions['net'] {
  if (net === null) {
    if (given === undefined) return undefined;
    const message = `the machine of snapshot ${name} has no network device`;
    throw new PandoError('SNAPSHOT_NET_ABSENT', message, { remedy: 'leave the network away' });
  }
  const wanted = given ?? net.options;
  if (wanted !== null) return wanted;
  const message = `the network of snapshot ${name} was its program's: a link, or one with a hook`;
  throw new PandoError('SNAPSHOT_NET_NEEDED', message, {
    remedy: 'restore it with the option net',
  });
}

/**
 * @param net the network that the user gives the machine
 * @throws PandoError SNAPSHOT_NET_…, and what `openDevices` throws
 */
export async function openSnapshotDevices(
  { manifest, disks, start }: OpenSnapshot,
  { pmem }: GuestImages,
  net: DeviceOptions['net'],
): Promise<OpenDevices> {
  const wanted = { ...manifest.machine, disks, net: networkFor(manifest, net) };
  const devices = await openDevices(wanted, pmem, start.disks);
  try {
    for (const device of devices.descriptions) {
      if (device.kind === 'net' && manifest.net !== null) {
        checkSameNetwork(manifest.net, device.settings);
      }
    }
    return devices;
  } catch (error) {
    closeDevices(devices);
    throw error;
  }
}
