/**
 * What the store writes down about an image: which objects it consists of, how to boot it, and where
 * it came from. JSON, one file an image: format 1 for a kernel and an initrd, format 2 as soon as there
 * is a root file system.
 */
import { PandoError } from '../error.js';
import { JsonFields } from './json-fields.js';

/**
 * Debian sets no parameters of its own but `quiet`, which its boot loader package adds. A panic is
 * left to stand (no `panic=`): a guest that rebooted instead would hide it. `retain_initrd` keeps Linux
 * from overwriting the initrd's pages once they are unpacked: they stay the file's (docs/sharing.md).
 */
export const DEFAULT_COMMAND_LINE = 'console=ttyS0 retain_initrd';

/**
 * For a VM that ends at a reset: a kernel that panics resets the machine at once, instead of standing still for ever
 * (Linux, Documentation/admin-guide/kernel-parameters, "panic=").
 */
export const PANIC_RESETS = 'panic=-1';

/** For a kernel that was told to be silent (`loglevel=0`), which takes its panics in, too: it shows these (ibid.). */
export const PANIC_SHOWS = 'loglevel=1';

/** Image that is booted where none is named; it is pulled when it is missing. */
export const DEFAULT_IMAGE_NAME = 'debian';

/** An object of the store. */
export interface ObjectReference {
  /** 64 lower-case hexadecimal digits; also the object's file name. */
  readonly sha256: string;
  /** Bytes. */
  readonly size: number;
}

/** A distribution package that an image was made from. */
export interface PackageProvenance {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  /** Of the package file, as the distribution's signed index gives it. */
  readonly sha256: string;
  /** Bytes of the package file. */
  readonly size: number;
}

/** Where an image came from. */
export interface Provenance {
  readonly kind: 'debian' | 'import' | 'oci';
  /** The kernel's file: its path in the package, or on the host where it was imported. */
  readonly kernelFile?: string;
  /** sha256 of that file as it came, before it was unpacked and laid out anew. */
  readonly kernelFileSha256?: string;
  /** The initrd's file, for an imported one. */
  readonly initrdFile?: string;
  /** Packages in the order kernel, busybox, those of the root file system; empty for an import. */
  readonly packages: readonly PackageProvenance[];
  /** What an OCI image was asked for as: a registry's reference, or a folder or file. */
  readonly reference?: string;
  /** Digest of an OCI image's manifest. */
  readonly digest?: string;
}

/** A layer of an OCI image, kept so that other images with that layer need not fetch it. */
export interface LayerReference {
  /** Digest of the layer as it came: `sha256:` and 64 digits, or another algorithm's. */
  readonly digest: string;
  /** SHA-256 of the layer's archive, unpacked. */
  readonly diffId: string;
  /** The layer's entries (oci/layer-entry.ts). */
  readonly index: ObjectReference;
  /** The files' bytes; none when no file has any. */
  readonly data?: ObjectReference;
}

/** How a container is started (OCI Image Format Specification, config.md). */
export interface ContainerConfig {
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  /** `NAME=value` each. */
  readonly env: readonly string[];
  /** `user`, `user:group`, names or numbers; empty for root. */
  readonly user: string;
  /** Empty for `/`. */
  readonly workdir: string;
  /** `port/protocol` each. */
  readonly exposedPorts: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

/**
 * A root file system: one EROFS image whose bytes are these objects, one behind the other. Each has a
 * whole number of pages.
 */
export interface RootFileSystem {
  readonly metadata: ObjectReference;
  readonly data: readonly ObjectReference[];
  /** The lowest first. */
  readonly layers: readonly LayerReference[];
  readonly config: ContainerConfig;
}

/** One image. */
export interface Manifest {
  readonly format: 1 | 2;
  readonly name: string;
  /** ISO 8601, UTC. */
  readonly created: string;
  /** An ELF vmlinux with page-aligned segments; none: the image is run with another's kernel. */
  readonly kernel?: ObjectReference;
  /** An uncompressed (when built here) cpio archive. */
  readonly initrd?: ObjectReference;
  /** A cpio archive with the kernel's modules, for VMs with devices: it follows the initrd. */
  readonly modules?: ObjectReference;
  /** SHA-256 of the release's own parts: the agent in that archive, the scripts in the initrd. */
  readonly agent?: string;
  /** The kernel command line that the image is meant to be booted with. */
  readonly commandLine: string;
  readonly root?: RootFileSystem;
  readonly provenance: Provenance;
}

/** An image that has a kernel of its own. */
export type KernelManifest = Manifest & { readonly kernel: ObjectReference };

const NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;

/**
 * Checks an image's name: it becomes a file name.
 * @throws PandoError IMAGE_NAME_INVALID
 */
export function checkImageName(name: string): string {
  if (NAME.test(name)) return name;
  throw new PandoError('IMAGE_NAME_INVALID', `image name ${JSON.stringify(name)} is not allowed`, {
    remedy: 'use 1 to 64 of a-z, 0-9, ".", "_" and "-", beginning with a letter or digit',
  });
}

function invalid(file: string, field: string, expected: string): PandoError {
  return new PandoError(
    'MANIFEST_INVALID',
    `manifest ${file}: ${field || 'the whole'} is not ${expected}`,
    {
      remedy: 'remove the image with `pando image rm` and pull or import it again',
    },
  );
}

const SHA256 = /^[0-9a-f]{64}$/;
const DIGEST = /^[a-z0-9+._-]+:[0-9a-f]{32,}$/;

function reference(fields: JsonFields): ObjectReference {
  return { sha256: fields.text('sha256', SHA256), size: fields.size('size') };
}

/** An optional field, as an object to spread. */
function optional<K extends string, T>(
  fields: JsonFields,
  key: K,
  read: (key: K) => T,
): { readonly [P in K]?: T } {
  return fields.has(key) ? ({ [key]: read(key) } as { [P in K]: T }) : {};
}

function provenance(fields: JsonFields): Provenance {
  return {
    kind: fields.text('kind', /^(debian|import|oci)$/) as Provenance['kind'],
    ...optional(fields, 'kernelFile', (key) => fields.text(key)),
    ...optional(fields, 'kernelFileSha256', (key) => fields.text(key, SHA256)),
    ...optional(fields, 'initrdFile', (key) => fields.text(key)),
    packages: fields.list('packages').map((item) => ({
      name: item.text('name'),
      version: item.text('version'),
      architecture: item.text('architecture'),
      sha256: item.text('sha256', SHA256),
      size: item.size('size'),
    })),
    ...optional(fields, 'reference', (key) => fields.text(key)),
    ...optional(fields, 'digest', (key) => fields.text(key, DIGEST)),
  };
}

function config(fields: JsonFields): ContainerConfig {
  const labels = fields.object('labels');
  return {
    entrypoint: fields.texts('entrypoint'),
    cmd: fields.texts('cmd'),
    env: fields.texts('env'),
    user: fields.text('user'),
    workdir: fields.text('workdir'),
    exposedPorts: fields.texts('exposedPorts'),
    labels: Object.fromEntries(labels.keys().map((key) => [key, labels.text(key)])),
  };
}

function layerReference(fields: JsonFields): LayerReference {
  return {
    digest: fields.text('digest', DIGEST),
    diffId: fields.text('diffId', DIGEST),
    index: reference(fields.object('index')),
    ...optional(fields, 'data', (key) => reference(fields.object(key))),
  };
}

/**
 * Parses what `formatLayerReference` writes.
 * @throws PandoError MANIFEST_INVALID
 */
export function parseLayerReference(file: string, json: string): LayerReference {
  const wrong = (field: string, expected: string) => invalid(file, field, expected);
  return layerReference(JsonFields.parse(json, wrong));
}

/** A layer as it is written to a file of its own. */
export function formatLayerReference(layer: LayerReference): string {
  return `${JSON.stringify(layer)}\n`;
}

function rootFileSystem(fields: JsonFields): RootFileSystem {
  return {
    metadata: reference(fields.object('metadata')),
    data: fields.list('data').map(reference),
    layers: fields.list('layers').map(layerReference),
    config: config(fields.object('config')),
  };
}

/**
 * Parses a manifest.
 * @param file its path, for the error's message
 * @throws PandoError MANIFEST_INVALID, MANIFEST_TOO_NEW
 */
export function parseManifest(file: string, json: string): Manifest {
  const wrong = (field: string, expected: string) => invalid(file, field, expected);
  const fields = JsonFields.parse(json, wrong);
  const format = fields.size('format');
  if (format > 2) {
    throw new PandoError(
      'MANIFEST_TOO_NEW',
      `manifest ${file}: format ${format} is of a newer version of Pando, this one knows 1 and 2`,
      { remedy: 'use that version of Pando' },
    );
  }
  if (format !== 1 && format !== 2) throw wrong('format', '1 or 2');
  if (format === 1 || !fields.has('root')) fields.object('kernel');
  return {
    format,
    name: fields.text('name', NAME),
    created: fields.text('created'),
    ...optional(fields, 'kernel', (key) => reference(fields.object(key))),
    ...optional(fields, 'initrd', (key) => reference(fields.object(key))),
    ...optional(fields, 'modules', (key) => reference(fields.object(key))),
    ...optional(fields, 'agent', (key) => fields.text(key, SHA256)),
    commandLine: fields.text('commandLine'),
    ...optional(fields, 'root', (key) => rootFileSystem(fields.object(key))),
    provenance: provenance(fields.object('provenance')),
  };
}

/** Whatever in a manifest looks like a SHA-256: all that can be told of one that cannot be parsed. */
export function hashesIn(json: string): string[] {
  return json.match(/(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])/g) ?? [];
}

/** All objects that an image consists of. */
export function objectsOf({ kernel, initrd, modules, root }: Manifest): ObjectReference[] {
  const layers = root?.layers.flatMap(({ index, data }) => [index, data]) ?? [];
  const all = [kernel, initrd, modules, root?.metadata, ...(root?.data ?? []), ...layers];
  return all.filter((reference) => reference !== undefined);
}

/** A manifest as it is written to its file. */
export function formatManifest(manifest: Manifest): string {
  return `${JSON.stringify(manifest, null, 2)}\n`;
}
