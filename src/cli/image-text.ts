/** What the `pando image` verbs print: tables for people, and objects that JSON can hold. */

import type { InitrdInspection, RootInspection } from '../image/inspect.js';
import type { Manifest, ObjectReference, RootFileSystem } from '../image/manifest.js';
import type { Image } from '../image/store.js';
import type { KernelInspection, SegmentInspection } from '../loader/inspect.js';
import type { ByteRange } from '../loader/mapping.js';

/** Columns as wide as their widest cell; the last one is not padded. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, cell.length);
    });
  }
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** Decimal megabytes. */
export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}

/** An image as `--json` shows it. */
export function imageObject(image: Image): object {
  return {
    ...image.manifest,
    kernelPath: image.kernelPath,
    ...(image.initrdPath === undefined ? {} : { initrdPath: image.initrdPath }),
  };
}

/** Where an image came from, in a few words. */
function origin({ provenance }: Manifest): string {
  const [kernel] = provenance.packages;
  if (kernel !== undefined) return `${kernel.name} ${kernel.version}`;
  return provenance.kernelFile ?? provenance.reference ?? '-';
}

/** Bytes of the objects that make up a part of an image; a dash when it has none. */
function partSize(...parts: readonly (ObjectReference | undefined)[]): string {
  const sizes = parts.flatMap((part) => part?.size ?? []);
  return sizes.length === 0 ? '-' : megabytes(sizes.reduce((total, size) => total + size));
}

function rootParts({ metadata, data }: RootFileSystem): ObjectReference[] {
  return [metadata, ...data];
}

/** The table of `pando image ls`. */
export function imageTable(manifests: readonly Manifest[]): string {
  return table([
    ['NAME', 'KERNEL', 'INITRD', 'ROOT', 'CREATED', 'FROM'],
    ...manifests.map((manifest) => [
      manifest.name,
      partSize(manifest.kernel),
      partSize(manifest.initrd),
      partSize(...(manifest.root === undefined ? [] : rootParts(manifest.root))),
      manifest.created.slice(0, 10),
      origin(manifest),
    ]),
  ]);
}

/** An image, for a person. */
export function imageText(image: Image): string {
  const { manifest } = image;
  return table([
    ['image', image.name],
    ['kernel', image.kernelPath],
    ['initrd', image.initrdPath ?? '-'],
    ['command line', image.commandLine],
    ['created', manifest.created],
    ['from', `${manifest.provenance.kernelFile} (sha256 ${manifest.provenance.kernelFileSha256})`],
    ...manifest.provenance.packages.map((item) => [
      'package',
      `${item.name} ${item.version} ${item.architecture} (sha256 ${item.sha256})`,
    ]),
  ]);
}

/** An image's root file system, for a person. */
export function rootText({ name, created, root, provenance }: Manifest): string {
  if (root === undefined) return name;
  const { config, data, metadata, layers } = root;
  const command = [...config.entrypoint, ...config.cmd].map((word) => JSON.stringify(word));
  const size = data.reduce((total, part) => total + part.size, metadata.size);
  return table([
    ['image', name],
    ['root', `${megabytes(size)}, ${layers.length} layers`],
    ['command', command.length === 0 ? '-' : command.join(' ')],
    ['user', config.user || 'root'],
    ['folder', config.workdir || '/'],
    ...config.env.map((variable) => ['env', variable]),
    ...config.exposedPorts.map((port) => ['port', port]),
    ['created', created],
    ['from', `${provenance.reference ?? '-'} (${provenance.digest ?? '-'})`],
  ]);
}

/** What the file system holds, for a person. */
export function rootInspectionText(root: RootInspection): string {
  return (
    `root    ${root.size} bytes, all mapped: ${root.inodes} inodes, ` +
    `${root.files} files with ${root.contentBytes} bytes`
  );
}

function flags(value: number): string {
  return `${value & 4 ? 'r' : '-'}${value & 2 ? 'w' : '-'}${value & 1 ? 'x' : '-'}`;
}

function range({ guestAddress, length }: ByteRange): string {
  return `${hex(guestAddress)}+${hex(length)}`;
}

/** Owner without its terminating NUL. */
function owner(name: string): string {
  return name.replace(/\0+$/, '');
}

function segmentRow({ index, flags: access, virtualAddress, placement, split }: SegmentInspection) {
  return [
    String(index),
    flags(access),
    placement.part,
    hex(placement.fileOffset),
    hex(placement.fileLength),
    hex(placement.guestAddress),
    hex(virtualAddress),
    split.mapped === undefined ? '-' : range(split.mapped),
    split.read.length === 0 ? '-' : split.read.map(range).join(' '),
    hex(split.zeroLength),
  ];
}

/** A kernel, for a person. */
export function kernelText(kernel: KernelInspection): string {
  const packed = kernel.compression === undefined ? '' : `, payload ${kernel.compression}`;
  return [
    `format  ${kernel.format}${packed}, ELF${kernel.plan.elfClass} of ${kernel.elfSize} bytes`,
    `entry   ${hex(kernel.plan.entry)} (32-bit, XEN_ELFNOTE_PHYS32_ENTRY)`,
    `memory  ${hex(kernel.plan.lowest)} to ${hex(kernel.plan.highest)}`,
    `mapped ${kernel.mappedBytes} bytes, read ${kernel.readBytes}, zero ${kernel.zeroBytes}`,
    '',
    'segments',
    table([
      ['#', 'ACCESS', 'PART', 'OFFSET', 'BYTES', 'GUEST', 'VIRTUAL', 'MAPPED', 'READ', 'ZERO'],
      ...kernel.segments.map(segmentRow),
    ]),
    '',
    'notes',
    table([
      ['OWNER', 'TYPE', 'OFFSET', 'BYTES', 'DESCRIPTOR'],
      ...kernel.notes.map((note) => [
        owner(note.owner),
        String(note.type),
        hex(note.fileOffset),
        String(note.descriptor.length),
        Buffer.from(note.descriptor.subarray(0, 16)).toString('hex'),
      ]),
    ]),
  ].join('\n');
}

/** A kernel as `--json` shows it: 64-bit addresses as hexadecimal texts, bytes as hexadecimal. */
export function kernelObject(kernel: KernelInspection): object {
  return {
    ...kernel,
    segments: kernel.segments.map((segment) => ({
      ...segment,
      virtualAddress: hex(segment.virtualAddress),
    })),
    notes: kernel.notes.map((note) => ({
      ...note,
      owner: owner(note.owner),
      descriptor: Buffer.from(note.descriptor).toString('hex'),
    })),
  };
}

/** An initrd, for a person. It is one placement at a page boundary: all of it can be mapped. */
export function initrdText(initrd: InitrdInspection): string {
  return (
    `initrd  ${initrd.size} bytes, all mapped: ` +
    `${initrd.entries} entries with ${initrd.contentBytes} bytes of content`
  );
}
