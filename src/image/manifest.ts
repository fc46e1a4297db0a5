/**
 * What the store writes down about an image: which objects it consists of, how to boot it, and where
 * it came from. JSON, one file an image, format 1.
 */
import { PandoError } from '../error.js';

/**
 * Debian sets no parameters of its own but `quiet`, which its boot loader package adds. A panic is
 * left to stand (no `panic=`): a guest that rebooted instead would hide it. `retain_initrd` keeps Linux
 * from overwriting the initrd's pages once they are unpacked: they stay the file's (docs/sharing.md).
 */
export const DEFAULT_COMMAND_LINE = 'console=ttyS0 retain_initrd';

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
  readonly kind: 'debian' | 'import';
  /** The kernel's file: its path in the package, or on the machine it was imported on. */
  readonly kernelFile: string;
  /** sha256 of that file as it came, before it was unpacked and laid out anew. */
  readonly kernelFileSha256: string;
  /** The initrd's file, for an imported one. */
  readonly initrdFile?: string;
  /** Packages in the order kernel, busybox; empty for an import. */
  readonly packages: readonly PackageProvenance[];
}

/** One image. */
export interface Manifest {
  readonly format: 1;
  readonly name: string;
  /** ISO 8601, UTC. */
  readonly created: string;
  /** An ELF vmlinux with page-aligned segments. */
  readonly kernel: ObjectReference;
  /** An uncompressed (when built here) cpio archive. */
  readonly initrd?: ObjectReference;
  /** The kernel command line that the image is meant to be booted with. */
  readonly commandLine: string;
  readonly provenance: Provenance;
}

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

type Fields = Readonly<Record<string, unknown>>;

/** Reads typed fields of parsed JSON; every mismatch names the field. */
class FieldReader {
  constructor(
    private readonly file: string,
    private readonly path: string,
    private readonly fields: Fields,
  ) {}

  static of(file: string, path: string, value: unknown): FieldReader {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      return new FieldReader(file, path, value as Fields);
    }
    throw invalid(file, path, 'an object');
  }

  text(key: string, pattern?: RegExp): string {
    const value = this.fields[key];
    if (typeof value === 'string' && (pattern === undefined || pattern.test(value))) return value;
    throw invalid(this.file, this.path + key, pattern ? `a text like ${pattern}` : 'a text');
  }

  size(key: string): number {
    const value = this.fields[key];
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
    throw invalid(this.file, this.path + key, 'a number of bytes');
  }

  has(key: string): boolean {
    return this.fields[key] !== undefined;
  }

  object(key: string): FieldReader {
    return FieldReader.of(this.file, `${this.path}${key}.`, this.fields[key]);
  }

  list(key: string): FieldReader[] {
    const value = this.fields[key];
    if (!Array.isArray(value)) throw invalid(this.file, this.path + key, 'a list');
    return value.map((item, index) =>
      FieldReader.of(this.file, `${this.path}${key}[${index}].`, item),
    );
  }
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

function reference(fields: FieldReader): ObjectReference {
  return { sha256: fields.text('sha256', SHA256), size: fields.size('size') };
}

/**
 * Parses a manifest.
 * @param file its path, for the error's message
 * @throws PandoError MANIFEST_INVALID, MANIFEST_TOO_NEW
 */
export function parseManifest(file: string, json: string): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    throw invalid(file, '', 'JSON');
  }
  const fields = FieldReader.of(file, '', value);
  const format = fields.size('format');
  if (format > 1) {
    throw new PandoError(
      'MANIFEST_TOO_NEW',
      `manifest ${file}: format ${format} is of a newer version of Pando, this one knows 1`,
      { remedy: 'use that version of Pando' },
    );
  }
  if (format !== 1) throw invalid(file, 'format', '1');
  const origin = fields.object('provenance');
  return {
    format: 1,
    name: fields.text('name', NAME),
    created: fields.text('created'),
    kernel: reference(fields.object('kernel')),
    ...(fields.has('initrd') ? { initrd: reference(fields.object('initrd')) } : {}),
    commandLine: fields.text('commandLine'),
    provenance: {
      kind: origin.text('kind', /^(debian|import)$/) as Provenance['kind'],
      kernelFile: origin.text('kernelFile'),
      kernelFileSha256: origin.text('kernelFileSha256', SHA256),
      ...(origin.has('initrdFile') ? { initrdFile: origin.text('initrdFile') } : {}),
      packages: origin.list('packages').map((item) => ({
        name: item.text('name'),
        version: item.text('version'),
        architecture: item.text('architecture'),
        sha256: item.text('sha256', SHA256),
        size: item.size('size'),
      })),
    },
  };
}

/** Whatever in a manifest looks like a SHA-256: all that can be told of one that cannot be parsed. */
export function hashesIn(json: string): string[] {
  return json.match(/(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])/g) ?? [];
}

/** A manifest as it is written to its file. */
export function formatManifest(manifest: Manifest): string {
  return `${JSON.stringify(manifest, null, 2)}\n`;
}
