/** Whether the memory of this host, or of its control group, holds as many VMs as are asked for. */
import { PandoError } from '../error.js';
import type { Isolation } from '../fleet/fleet.js';
import type { AvailableMemory } from '../measure/capabilities.js';

const MIB = 2 ** 20;
/** RAM of its own that a booted Linux guest keeps at least (docs/bench.md, "A run"). */
const GUEST_BYTES = 18 * MIB;
/** What a further VM takes beside its guest's RAM, in this process and in one of its own. */
const OVERHEAD_BYTES: Readonly<Record<Isolation, number>> = { shared: 2 * MIB, process: 34 * MIB };

const gibibytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

/**
 * @param memory guest RAM of each VM in bytes
 * @param available what there is; undefined where the system does not tell
 * @throws PandoError MEMORY_INSUFFICIENT
 */
export function checkMemory(
  { count, isolate, memory }: { count: number; isolate: Isolation; memory: number },
  available: AvailableMemory | undefined,
): void {
  const each = OVERHEAD_BYTES[isolate] + Math.min(memory, GUEST_BYTES);
  if (count === 1 || available === undefined || count * each <= available.bytes) return;
  const holds = Math.max(1, Math.floor(available.bytes / each));
  throw new PandoError(
    'MEMORY_INSUFFICIENT',
    `${count} VMs take some ${gibibytes(count * each)} (${Math.round(each / MIB)} MiB each), ` +
      `${gibibytes(available.bytes)} is available (${available.source})`,
    { remedy: `use --count ${holds} or fewer, or --force to boot them all the same` },
  );
}
