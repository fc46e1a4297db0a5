/**
 * A disk that stays as it was: what the guest writes goes to a private overlay, a sparse file without a
 * name, by clusters. Which clusters are there is a bitmap that all threads of the VM share; the device's
 * lock orders them. Under the overlay a machine that goes on from a capture has the layer of that
 * (disk-layer.ts).
 */
import type { BlockSource } from '../devices/virtio/block-source.js';
import {
  CLUSTER,
  type DiskLayer,
  type DiskReader,
  forEachRun,
  LayerBuilder,
  LayeredDisk,
} from './disk-layer.js';
import { FileDisk, type FileDiskHandle } from './file-disk.js';
import { Pieces } from './pieces.js';

/** Clusters that a capture copies at a time. */
const CAPTURE_CLUSTERS = 256;

export interface CowDiskHandle {
  readonly base: FileDiskHandle;
  readonly overlay: FileDiskHandle;
  /** A bit for each cluster that lies in the overlay. */
  readonly present: SharedArrayBuffer;
  /** Of the capture that the machine goes on from. */
  readonly layer?: DiskLayer | undefined;
}

/** Bytes of the bitmap of a disk. */
export function cowBitmapBytes(bytes: number): number {
  return Math.ceil(bytes / CLUSTER / 8);
}

/** Bytes without a change of where they lie. */
interface Run {
  readonly at: number;
  readonly length: number;
  readonly disk: DiskReader;
}

export class CowDisk implements BlockSource {
  readonly bytes: number;
  readonly readOnly = false;
  readonly blockBytes = CLUSTER;
  readonly #base: DiskReader;
  readonly #overlay: FileDisk;
  readonly #present: Uint8Array;

  constructor({ base, overlay, present, layer }: CowDiskHandle) {
    this.bytes = base.bytes;
    this.#base = layer === undefined ? new FileDisk(base) : new LayeredDisk(base, layer);
    this.#overlay = new FileDisk(overlay);
    this.#present = new Uint8Array(present);
  }

  #has(cluster: number): boolean {
    return (this.#present[cluster >>> 3]! & (1 << (cluster & 7))) !== 0;
  }

  #mark(at: number, length: number): void {
    const last = Math.ceil((at + length) / CLUSTER);
    for (let cluster = Math.floor(at / CLUSTER); cluster < last; cluster += 1) {
      this.#present[cluster >>> 3] = this.#present[cluster >>> 3]! | (1 << (cluster & 7));
    }
  }

  *#runs(at: number, length: number): Generator<Run> {
    const end = at + length;
    while (at < end) {
      let cluster = Math.floor(at / CLUSTER);
      const has = this.#has(cluster);
      do cluster += 1;
      while (cluster * CLUSTER < end && this.#has(cluster) === has);
      const next = Math.min(end, cluster * CLUSTER);
      yield { at, length: next - at, disk: has ? this.#overlay : this.#base };
      at = next;
    }
  }

  read(at: number, into: readonly Uint8Array[]): void {
    const pieces = new Pieces(into);
    for (const run of this.#runs(at, pieces.length)) {
      run.disk.read(run.at, pieces.take(run.length));
    }
  }

  write(at: number, from: readonly Uint8Array[]): void {
    const { length } = new Pieces(from);
    for (const edge of this.#edges(at, length)) {
      const cluster = new Uint8Array(edge.length);
      this.#base.read(edge.at, [cluster]);
      this.#overlay.write(edge.at, [cluster]);
    }
    this.#overlay.write(at, from);
    this.#mark(at, length);
  }

  /** Clusters that a write covers in part and that are the base's still. */
  #edges(at: number, length: number): { at: number; length: number }[] {
    const end = at + length;
    const first = Math.floor(at / CLUSTER);
    const last = Math.floor((end - 1) / CLUSTER);
    const edges: { at: number; length: number }[] = [];
    for (const cluster of first === last ? [first] : [first, last]) {
      const start = cluster * CLUSTER;
      const bytes = Math.min(CLUSTER, this.bytes - start);
      const covered = start >= at && start + bytes <= end;
      if (!covered && !this.#has(cluster)) edges.push({ at: start, length: bytes });
    }
    return length === 0 ? [] : edges;
  }

  async readSlowly(at: number, into: Uint8Array): Promise<void> {
    let done = 0;
    for (const run of this.#runs(at, into.length)) {
      await run.disk.readSlowly(run.at, into.subarray(done, done + run.length));
      done += run.length;
    }
  }

  async writeSlowly(at: number, from: Uint8Array): Promise<void> {
    await this.#copyEdges(at, from.length);
    await this.#overlay.writeSlowly(at, from);
    this.#mark(at, from.length);
  }

  async #copyEdges(at: number, length: number): Promise<void> {
    for (const edge of this.#edges(at, length)) {
      const cluster = new Uint8Array(edge.length);
      await this.#base.readSlowly(edge.at, cluster);
      await this.#overlay.writeSlowly(edge.at, cluster);
    }
  }

  /** The overlay goes with the VM: there is nothing that would have to last. */
  async flush(): Promise<void> {}

  async zero(at: number, length: number): Promise<void> {
    await this.#copyEdges(at, length);
    await this.#overlay.zero(at, length, true);
    this.#mark(at, length);
  }
}

/**
 * Copies what the guest has written, since its machine was booted, to where `write` puts it. The machine
 * stands still; a request that its host end is at is done again by whoever goes on from the capture.
 */
export function captureCow(
  handle: CowDiskHandle,
  write: (bytes: Uint8Array) => void,
): Omit<DiskLayer, 'fd'> {
  const disk = new CowDisk(handle);
  const written = Uint8Array.from(new Uint8Array(handle.present));
  forEachRun(handle.layer?.runs ?? new Uint32Array(0), (first, count) => {
    for (let cluster = first; cluster < first + count; cluster += 1) {
      written[cluster >>> 3] = written[cluster >>> 3]! | (1 << (cluster & 7));
    }
  });
  const has = (cluster: number): boolean => (written[cluster >>> 3]! & (1 << (cluster & 7))) !== 0;
  const clusters = Math.ceil(disk.bytes / CLUSTER);
  const builder = new LayerBuilder(write);
  const buffer = new Uint8Array(CAPTURE_CLUSTERS * CLUSTER);
  for (let cluster = 0; cluster < clusters; ) {
    if (!has(cluster)) {
      cluster += written[cluster >>> 3] === 0 ? 8 - (cluster & 7) : 1;
      continue;
    }
    let end = cluster + 1;
    while (end < clusters && end - cluster < CAPTURE_CLUSTERS && has(end)) end += 1;
    const bytes = buffer.subarray(0, (end - cluster) * CLUSTER);
    const onDisk = Math.min(bytes.length, disk.bytes - cluster * CLUSTER);
    bytes.fill(0, onDisk);
    disk.read(cluster * CLUSTER, [bytes.subarray(0, onDisk)]);
    builder.add(cluster, bytes);
    cluster = end;
  }
  return builder.finish();
}
