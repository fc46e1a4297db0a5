/** `pando template`: create, ls, rm. */
import type { Command } from 'commander';
import { PandoError } from '../error.js';
import { DEFAULT_IMAGE_NAME } from '../image/manifest.js';
import type { ProgressSink } from '../image/progress.js';
import { ImageStore } from '../image/store.js';
import { SnapshotStore } from '../snapshot/snapshot-store.js';
import { megabytes, table } from './image-text.js';
import { type Output, ownSize, print } from './snapshot.js';
import { isCurrent, makeTemplate, snapshotName, type Template, templates } from './templates.js';
import { progressLine } from './terminal/image-progress.js';
import { STANDARD_STREAMS } from './terminal/standard-streams.js';
import { parseSeconds, parseSize } from './terminal/units.js';

interface CreateFlags extends Output {
  readonly memory: string;
  readonly until?: string;
  readonly timeout: string;
}

async function create(image: string, flags: CreateFlags, progress: ProgressSink): Promise<void> {
  const memory = parseSize('--memory', flags.memory);
  const timeoutMs = parseSeconds('--timeout', flags.timeout);
  const manifest = await makeTemplate(image, { memory, until: flags.until, timeoutMs, progress });
  print(flags, manifest, `template of ${image}: ${megabytes(ownSize(manifest))}; pando run`);
}

/** Whether the next run takes it as it is. */
async function stateOf(template: Template, images: ImageStore): Promise<string> {
  try {
    return isCurrent(template, await images.open(template.image)) ? 'current' : 'outdated';
  } catch (error) {
    if (error instanceof PandoError) return error.code;
    throw error;
  }
}

async function list(flags: Output): Promise<void> {
  const images = new ImageStore();
  const rows: string[][] = [];
  const found: object[] = [];
  for (const template of await templates()) {
    const { image, manifest } = template;
    const state = await stateOf(template, images);
    found.push({ image, state, manifest });
    const { memory } = manifest.machine;
    const when = manifest.created.slice(0, 16).replace('T', ' ');
    rows.push([image, when, megabytes(memory), megabytes(ownSize(manifest)), state]);
  }
  print(flags, found, table([['IMAGE', 'CREATED', 'RAM', 'SIZE', 'STATE'], ...rows]));
}

async function remove(images: readonly string[], flags: Output): Promise<void> {
  const store = new SnapshotStore();
  let freed = 0;
  for (const image of images) freed += await store.remove(snapshotName(image));
  print(flags, { removed: images, freed }, `removed ${images.join(', ')}: ${megabytes(freed)}`);
}

/** Adds the command to the program. */
export function registerTemplateCommand(program: Command): void {
  const template = program
    .command('template')
    .description('images that have booted: pando run goes on from there');
  template
    .command('create [image]')
    .description('boot an image (default: debian), wait until it is ready, write it down')
    .option('--memory <size>', 'guest RAM', '1G')
    .option('--until <text>', 'ready when the console has printed this (default: when it waits)')
    .option('--timeout <seconds>', 'give up after this time', '300')
    .option('--json', 'as JSON')
    .action(async (image: string | undefined, flags: CreateFlags) => {
      const line = progressLine(STANDARD_STREAMS.err);
      await create(image ?? DEFAULT_IMAGE_NAME, flags, line.sink).finally(() => line.end());
    });
  template.command('ls').description('list templates').option('--json', 'as JSON').action(list);
  template
    .command('rm <image...>')
    .description('remove the templates of images')
    .option('--json', 'as JSON')
    .action(remove);
}
