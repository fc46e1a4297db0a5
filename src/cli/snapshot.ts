/** `pando snapshot`: create, ls, inspect, rm. */
import type { Command } from 'commander';
import { PandoError } from '../error.js';
import { chooseBootImage } from '../image/boot-image.js';
import type { ProgressSink } from '../image/progress.js';
import type { SnapshotManifest } from '../snapshot/manifest.js';
import { SnapshotStore } from '../snapshot/snapshot-store.js';
import { megabytes, table } from './image-text.js';
import { writeReady } from './ready.js';
import { progressLine } from './terminal/image-progress.js';
import { STANDARD_STREAMS } from './terminal/standard-streams.js';
import { parseSeconds, parseSize } from './terminal/units.js';

export interface Output {
  readonly json?: boolean;
}

interface CreateFlags extends Output {
  readonly kernel?: string;
  readonly initrd?: string;
  readonly image?: string;
  readonly append?: string;
  readonly memory: string;
  readonly until?: string;
  readonly timeout: string;
  readonly replace?: boolean;
}

export function print(options: Output, object: unknown, text: string): void {
  STANDARD_STREAMS.out.write(`${options.json === true ? JSON.stringify(object, null, 2) : text}\n`);
}

/** Bytes of a snapshot's own: its image's files are the store's. */
export function ownSize({ pages, state, code }: SnapshotManifest): number {
  return pages.size + state.size + (code?.size ?? 0);
}

async function create(name: string, flags: CreateFlags, progress: ProgressSink): Promise<void> {
  const memory = parseSize('--memory', flags.memory);
  const timeoutMs = parseSeconds('--timeout', flags.timeout);
  const image = await chooseBootImage(flags, progress);
  const { kernel, initrd, commandLine } = image;
  progress('booting');
  const machine = { kernel, initrd, commandLine, memory };
  const snapshot = { name, replace: flags.replace === true };
  const manifest = await writeReady(machine, snapshot, { until: flags.until, timeoutMs }, () =>
    progress('writing'),
  );
  print(flags, manifest, `${name}: ${megabytes(ownSize(manifest))}; pando run --snapshot ${name}`);
}

async function list(flags: Output): Promise<void> {
  const store = new SnapshotStore();
  const manifests: SnapshotManifest[] = [];
  const damaged: string[] = [];
  for (const name of await store.names()) {
    try {
      manifests.push(await store.manifest(name));
    } catch (error) {
      if (!(error instanceof PandoError)) throw error;
      damaged.push(error.toLine());
    }
  }
  const rows = manifests.map((manifest) => [
    manifest.name,
    manifest.created.slice(0, 16).replace('T', ' '),
    manifest.machine.accelerator,
    megabytes(manifest.machine.memory),
    megabytes(ownSize(manifest)),
  ]);
  print(flags, manifests, table([['NAME', 'CREATED', 'ACCELERATOR', 'RAM', 'SIZE'], ...rows]));
  for (const line of damaged) STANDARD_STREAMS.err.write(`${line}\n`);
}

/** What a restore needs, and whether it is there. */
async function inspect(name: string, flags: Output): Promise<void> {
  const store = new SnapshotStore();
  const manifest = await store.manifest(name);
  const { machine, kernel, initrd, pages, state, code, runs } = manifest;
  for (const [reference, what] of [
    [kernel, 'kernel'],
    ...(initrd === null ? [] : [[initrd, 'initrd'] as const]),
    [pages, 'pages'],
    [state, 'state'],
    ...(code === undefined ? [] : [[code, 'decoded code'] as const]),
  ] as const) {
    store.locate(reference, what);
  }
  const rows = [
    ['created', `${manifest.created} by Pando ${manifest.pando}`],
    ['machine', `${machine.accelerator}, ${megabytes(machine.memory)}, ${machine.cpus} vCPU`],
    ['command line', machine.commandLine],
    ['kernel', `${kernel.sha256} (${megabytes(kernel.size)})`],
    ['initrd', initrd === null ? '-' : `${initrd.sha256} (${megabytes(initrd.size)})`],
    ['pages', `${megabytes(pages.size)} in ${runs.length} runs`],
    ['state', `${state.size} bytes`],
    ['decoded code', code === undefined ? '-' : megabytes(code.size)],
  ];
  print(flags, manifest, table(rows));
}

async function remove(names: readonly string[], flags: Output): Promise<void> {
  const store = new SnapshotStore();
  let freed = 0;
  for (const name of names) freed += await store.remove(name);
  print(flags, { removed: names, freed }, `removed ${names.join(', ')}: ${megabytes(freed)}`);
}

/** Adds the command to the program. */
export function registerSnapshotCommand(program: Command): void {
  const snapshot = program
    .command('snapshot')
    .description('machines as they stood, which new VMs go on from');
  snapshot
    .command('create <name>')
    .description('boot a VM, wait until it is ready, write it down')
    .option('--kernel <file>', 'kernel: ELF with a PVH note, or bzImage')
    .option('--initrd <file>', 'initial RAM disk')
    .option('--image <name>', 'image of the store (default: debian)')
    .option('--append <text>', "kernel command line; after the image's own without --kernel")
    .option('--memory <size>', 'guest RAM', '1G')
    .option('--until <text>', 'ready when the console has printed this (default: when it waits)')
    .option('--timeout <seconds>', 'give up after this time', '300')
    .option('--replace', 'take the place of a snapshot of that name')
    .option('--json', 'as JSON')
    .action(async (name: string, flags: CreateFlags) => {
      const line = progressLine(STANDARD_STREAMS.err);
      await create(name, flags, line.sink).finally(() => line.end());
    });
  snapshot.command('ls').description('list snapshots').option('--json', 'as JSON').action(list);
  snapshot
    .command('inspect <name>')
    .description('say what a snapshot needs, and check that it is there')
    .option('--json', 'as JSON')
    .action(inspect);
  snapshot
    .command('rm <name...>')
    .description('remove snapshots')
    .option('--json', 'as JSON')
    .action(remove);
}
