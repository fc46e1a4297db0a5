/** `pando image`: pull, import, ls, inspect, rm, prune, initrd. */
import { statSync } from 'node:fs';
import type { Command } from 'commander';
import { PandoError } from '../error.js';
import { DEFAULT_KERNEL_PACKAGE, pullDebian } from '../image/debian.js';
import { pruneDownloads } from '../image/downloads.js';
import { writeFolderInitrd } from '../image/folder.js';
import { importImage } from '../image/import.js';
import { inspectInitrdFile, inspectKernelFile, inspectRoot } from '../image/inspect.js';
import { DEFAULT_IMAGE_NAME } from '../image/manifest.js';
import { importOciImage, pullImage } from '../image/oci/pull.js';
import type { ProgressSink } from '../image/progress.js';
import { type Image, ImageStore } from '../image/store.js';
import { pullDebianPackages } from '../provision/debian.js';
import {
  imageObject,
  imageTable,
  imageText,
  initrdText,
  kernelObject,
  kernelText,
  megabytes,
  rootInspectionText,
  rootText,
} from './image-text.js';
import { progressLine } from './terminal/image-progress.js';
import { STANDARD_STREAMS } from './terminal/standard-streams.js';

/** Every verb has `--json`. */
interface Output {
  readonly json?: boolean;
}

function print(options: Output, object: unknown, text: string): void {
  STANDARD_STREAMS.out.write(`${options.json === true ? JSON.stringify(object, null, 2) : text}\n`);
}

/** Runs work with a progress line that is gone when it ends, however it ends. */
async function withProgress<T>(work: (sink: ProgressSink) => Promise<T>): Promise<T> {
  const line = progressLine(STANDARD_STREAMS.err);
  try {
    return await work(line.sink);
  } finally {
    line.end();
  }
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

interface PullFlags extends Output {
  readonly kernelPackage?: string;
  readonly name?: string;
  readonly packages?: string;
}

async function pull(what: string, flags: PullFlags): Promise<void> {
  const { kernelPackage, name, packages } = flags;
  if (what.includes('/')) {
    if (kernelPackage !== undefined || packages !== undefined) {
      const given = packages === undefined ? '--kernel-package' : '--packages';
      throw new PandoError('OPTION_CONFLICT', `${given} is for pulling debian`, {
        remedy: 'an image of a registry is run with the kernel of debian',
      });
    }
    const root = await withProgress((progress) =>
      pullImage(what, { progress, ...(name === undefined ? {} : { name }) }),
    );
    print(flags, root.manifest, rootText(root.manifest));
    return;
  }
  if (what !== DEFAULT_IMAGE_NAME) {
    throw new PandoError('DISTRIBUTION_UNKNOWN', `there is no source of ${what} images`, {
      remedy: `pull debian, or of a registry, such as docker.io/library/${what}`,
    });
  }
  const choice = {
    ...(kernelPackage === undefined ? {} : { kernelPackage }),
    ...(name === undefined ? {} : { name }),
  };
  if (packages !== undefined) {
    const names = packages.split(',').filter((each) => each !== '');
    const root = await withProgress((progress) =>
      pullDebianPackages({ ...choice, progress, packages: names }),
    );
    print(flags, root.manifest, rootText(root.manifest));
    return;
  }
  const image = await withProgress((progress) => pullDebian({ ...choice, progress }));
  print(flags, imageObject(image), imageText(image));
}

interface ImportFlags extends Output {
  readonly kernel?: string;
  readonly initrd?: string;
  readonly append?: string;
  readonly oci?: string;
  readonly tag?: string;
}

async function importVerb(name: string, flags: ImportFlags): Promise<void> {
  const { kernel, initrd, append, oci, tag } = flags;
  const files = kernel ?? initrd ?? append;
  if (oci === undefined ? kernel === undefined || tag !== undefined : files !== undefined) {
    throw new PandoError('OPTION_CONFLICT', 'import needs either --kernel or --oci', {
      remedy: '--initrd and --append go with --kernel, --tag goes with --oci',
    });
  }
  if (oci !== undefined || kernel === undefined) {
    const root = await withProgress((progress) =>
      importOciImage(oci ?? '', tag, { name, progress }),
    );
    print(flags, root.manifest, rootText(root.manifest));
    return;
  }
  const image = await withProgress((progress) =>
    importImage({
      name,
      kernel,
      progress,
      ...(initrd === undefined ? {} : { initrd }),
      ...(append === undefined ? {} : { commandLine: append }),
    }),
  );
  print(flags, imageObject(image), imageText(image));
}

async function list(flags: Output): Promise<void> {
  const store = new ImageStore();
  const names = await store.names();
  const manifests = await Promise.all(names.map((name) => store.manifest(name)));
  const empty = `no images in ${store.folder}; \`pando image pull debian\` gets one`;
  print(flags, manifests, manifests.length === 0 ? empty : imageTable(manifests));
}

async function inspectImage(image: Image, flags: Output): Promise<void> {
  const kernel = inspectKernelFile(image.kernelPath);
  const initrd = image.initrdPath === undefined ? undefined : inspectInitrdFile(image.initrdPath);
  print(
    flags,
    { image: imageObject(image), kernel: kernelObject(kernel), initrd },
    [imageText(image), '', kernelText(kernel), ...(initrd ? ['', initrdText(initrd)] : [])].join(
      '\n',
    ),
  );
}

async function inspect(what: string, flags: Output & { verify?: boolean }): Promise<void> {
  // A path wins over an image's name, which has no slash: ./debian is a file.
  if (what.includes('/') || isFile(what)) {
    const kernel = inspectKernelFile(what);
    print(flags, { file: what, kernel: kernelObject(kernel) }, kernelText(kernel));
    return;
  }
  const store = new ImageStore();
  const verify = flags.verify === true;
  if ((await store.manifest(what)).kernel !== undefined) {
    await inspectImage(await store.open(what, { verify }), flags);
    return;
  }
  const root = await store.openRoot(what, { verify });
  const inspection = inspectRoot(root.paths);
  print(
    flags,
    { image: root.manifest, root: inspection },
    `${rootText(root.manifest)}\n\n${rootInspectionText(inspection)}`,
  );
}

/** Bytes of several lists of files. */
function sizeOf(...lists: readonly (readonly { readonly size: number }[])[]): number {
  return lists.flat().reduce((total, { size }) => total + size, 0);
}

async function remove(name: string, flags: Output): Promise<void> {
  const { objects, profiles } = await new ImageStore().remove(name);
  const text = `removed ${name}: ${objects.length} objects, ${megabytes(sizeOf(objects, profiles))}`;
  print(flags, { name, objects, profiles }, text);
}

async function prune(flags: Output & { readonly all?: boolean }): Promise<void> {
  const { objects, files, profiles } = await new ImageStore().prune();
  const downloads = await pruneDownloads(flags.all === true);
  const text = [
    `${objects.length} objects, ${megabytes(sizeOf(objects))}`,
    `${files.length} files, ${megabytes(sizeOf(files))}`,
    `${profiles.length} profiles, ${megabytes(sizeOf(profiles))}`,
    `${downloads.length} downloads, ${megabytes(sizeOf(downloads))}`,
  ].join('; ');
  print(flags, { objects, files, profiles, downloads }, `pruned ${text}`);
}

function initrd(folder: string, flags: Output & { readonly output: string }): void {
  const made = writeFolderInitrd(folder, flags.output);
  print(flags, made, `${made.path}: ${made.entries} entries, ${made.size} bytes`);
}

/** Adds the verb to the program; errors leave its actions as they are thrown. */
export function registerImageCommand(program: Command): void {
  const image = program.command('image').description('kernels and initrds that VMs share');
  const json = ['--json', 'print JSON'] as const;
  image
    .command('pull')
    .description(
      "get a kernel from the host's package sources, or a root file system from a registry",
    )
    .argument('<what>', `${DEFAULT_IMAGE_NAME}, or REGISTRY/NAME:TAG`)
    .option(
      '--kernel-package <name>',
      `kernel package or metapackage (default: ${DEFAULT_KERNEL_PACKAGE})`,
    )
    .option('--packages <list>', 'a root file system of these Debian packages, with commas between')
    .option('--name <image>', 'name of the image')
    .option(...json)
    .action(pull);
  image
    .command('import')
    .description('make an image of a kernel and an initrd, or of a container image')
    .argument('<name>', 'name of the image')
    .option('--kernel <file>', 'bzImage or ELF kernel with a PVH entry')
    .option('--initrd <file>', 'cpio archive, compressed or not')
    .option('--append <text>', 'kernel command line of the image')
    .option('--oci <path>', 'folder of the OCI layout, or archive of `docker save`')
    .option('--tag <tag>', 'which image of that folder or archive')
    .option(...json)
    .action(importVerb);
  image
    .command('ls')
    .description('list images')
    .option(...json)
    .action(list);
  image
    .command('inspect')
    .description('segments, notes, entry, and which bytes are mapped and which read')
    .argument('<what>', 'a kernel file or the name of an image')
    .option('--verify', "hash the image's objects")
    .option(...json)
    .action(inspect);
  image
    .command('rm')
    .description('remove an image and the objects that only it needs; running VMs keep theirs')
    .argument('<name>', 'name of the image')
    .option(...json)
    .action(remove);
  image
    .command('prune')
    .description(
      'remove what no image needs: stray objects, copies of files, profiles, replaced downloads',
    )
    .option('--all', 'every download, too: the next pull fetches it again')
    .option(...json)
    .action(prune);
  image
    .command('initrd')
    .description('make an initrd from a folder, everything owned by root')
    .argument('<folder>')
    .requiredOption('-o, --output <file>', 'the archive')
    .option(...json)
    .action(initrd);
}
