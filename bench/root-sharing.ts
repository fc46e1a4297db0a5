/**
 * What a root file system costs in memory: VMs of one image, each in a process of its own, run the same Python
 * script, once with the root mapped (virtio-pmem, DAX) and once as a virtio disk. Of the root's files the table
 * has what all processes hold (RSS) and what that is when a shared page counts once (PSS), of the guests what their
 * page cache grew by, and the processes' USS.
 *
 *     pando image pull debian --packages python3
 *     npm run build && npx tsc -p bench && node dist/benches/root-sharing.js [--vms 16] [--image debian]
 *
 * Figures are of /proc/PID/smaps and smaps_rollup (PSS also counts the page cache once), and of the guests' own
 * /proc/meminfo; both kinds of root run one after the other in the same run.
 */
import { realpathSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { formatTable, styleFor } from '#dist/cli/terminal/text-table.js';
import { VmProcess } from '#dist/fleet/process.js';
import type { RemoteVm } from '#dist/fleet/remote-vm.js';
import { prepareRoot, type RootBoot } from '#dist/image/root-boot.js';
import { readMappings, readProcessMemory } from '#dist/measure/process-memory.js';
import { ownProcess } from '#dist/platform/own-process.js';

ownProcess();
const { values } = parseArgs({
  options: {
    vms: { type: 'string', default: '16' },
    image: { type: 'string', default: 'debian' },
    memory: { type: 'string', default: '256' },
  },
});
const COUNT = Number(values.vms);
const MIB = 1 << 20;
const MEMORY = Number(values.memory) * MIB;

const SCRIPT = `
import os
def cached():
    return int([line for line in open('/proc/meminfo') if line.startswith('Cached:')][0].split()[1])
before = cached()
total = 0
for folder, _, names in os.walk('/usr/lib'):
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isfile(path) and not os.path.islink(path):
            with open(path, 'rb') as file:
                total += sum(file.read()[::4096])
print('READY', before, cached(), total, flush=True)
os.read(0, 1)
`;

interface Ran {
  readonly pids: readonly number[];
  /** KiB by which each guest's page cache grew, from Python's start to the script's end. */
  readonly cached: readonly number[];
  close(): Promise<void>;
}

/** Resolves with what the guest says when its script is done. */
function ready(vm: RemoteVm): Promise<readonly number[]> {
  return new Promise((resolve, reject) => {
    let text = '';
    vm.onConsole((bytes) => {
      text += Buffer.from(bytes).toString('latin1');
      const found = /READY (\d+) (\d+) (\d+)/.exec(text);
      if (found !== null) resolve(found.slice(1).map(Number));
    });
    void vm.exited.then((exit) => reject(new Error(`${JSON.stringify(exit)}: ${text}`)));
  });
}

async function runAll(root: RootBoot, mapped: boolean): Promise<Ran> {
  const device = mapped
    ? { pmem: root.device }
    : { disks: [{ path: root.device, mode: 'ro' } as const] };
  const { kernel, initrd, modules, commandLine } = root;
  const processes: VmProcess[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(processes.map((process) => process.close()));
  };
  try {
    const cached: number[] = [];
    const pids: number[] = [];
    // Two at a time: more would only wait for the processors.
    for (let index = 0; index < COUNT; index += 2) {
      const pair = Array.from({ length: Math.min(2, COUNT - index) }, async () => {
        const process = new VmProcess({ vms: 'one' });
        processes.push(process);
        const options = { kernel, initrd, modules, commandLine, memory: MEMORY, ...device };
        const vm = await process.createVm({ ...options, accelerator: 'wasm' });
        vm.start();
        const [before = 0, after = 0] = await ready(vm);
        cached.push(after - before);
        pids.push(vm.pid);
      });
      await Promise.all(pair);
    }
    return { pids, cached, close };
  } catch (error) {
    await close();
    throw error;
  }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
const mib = (bytes: number): string => (bytes / MIB).toFixed(1);

const root = await prepareRoot(
  { image: values.image, command: ['python3', '-c', SCRIPT], terminal: false },
  () => {},
);
const rows: string[][] = [];
try {
  for (const mapped of [true, false]) {
    const { pids, cached, close } = await runAll(root, mapped);
    const files = root.device.map((path) => realpathSync(path));
    const mappings = pids.flatMap((pid) => files.flatMap((path) => readMappings(pid, { path })));
    const figure = (name: string): number =>
      sum(mappings.map(({ figures }) => figures.get(name) ?? 0));
    const uss = sum(pids.map((pid) => readProcessMemory(pid).uss));
    rows.push([
      mapped ? 'mapped, DAX' : 'virtio-blk',
      ...[figure('Rss'), figure('Pss'), (sum(cached) * 1024) / COUNT, uss / COUNT].map(mib),
    ]);
    await close();
  }
} finally {
  await root.close();
}
const titles = ["root's files, RSS", 'PSS', "a guest's cache grew by", 'USS of a process'];
const columns = [
  { title: 'root', align: 'left' as const },
  ...titles.map((title) => ({ title, align: 'right' as const })),
];
console.log(`${COUNT} VMs of ${MEMORY / MIB} MiB, image ${values.image}; MiB`);
console.log(formatTable(columns, rows, styleFor(process.stdout)));
