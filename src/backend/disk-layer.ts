/**
 * What a guest had written to a copy-on-write disk when its machine was captured: the clusters, one behind
 * the other, in a file of their own, and the runs that say where on the disk they belong. Machines that go
 * on from the capture read it between their own overlay and the disk's file. It never changes.
 */
import type { BlockSource } from '../devices/virtio/block-source.js';
import { PandoError } from '../error.js';
import { FileDisk, type FileDiskHandle } from './file-disk.js';
import { Pieces } from './pieces.js';

/** Bytes of a cluster. */
export const CLUSTER = 4096;

/** Words of a run: first cluster of the disk, clusters, first cluster of the layer's file. */
const RUN_WORDS = 3;
/** In place of a cluster of the file: the run is zeros. */
export const LAYER_ZEROS = 0xffff_ffff;

export interface DiskLayer {
  readonly fd: number;
  /** Of the file: whole clusters. */
  readonly bytes: number;
  /** Runs in order, without overlap; memory that threads share. */
  readonly runs: Uint32Array;
}

/** What a disk's readers need of it. */
export type DiskReader = Pick<BlockSource, 'read' | 'readSlowly'>;

/** Runs from a file. The bytes are little-endian words, as are those of the host. */
export function layerRuns(bytes: Uint8Array): Uint32Array {
  const words = new Uint32Array(new SharedArrayBuffer(bytes.length & ~3));
  new Uint8Array(words.buffer).set(bytes.subarray(0, words.byteLength));
  return words;
}

/**
 * Checks runs that come from a file.
 * @param diskBytes of the disk
 * @throws PandoError SNAPSHOT_DISK_INVALID
 */
export function checkLayer({ bytes, runs }: Omit<DiskLayer, 'fd'>, diskBytes: number): void {
  const clusters = Math.ceil(diskBytes / CLUSTER);
  const stored = bytes / CLUSTER;
  let end = 0;
  for (let at = 0; at < runs.length; at += RUN_WORDS) {
    const [first = 0, count = 0, from = 0] = runs.subarray(at, at + RUN_WORDS);
    const whole = at + RUN_WORDS <= runs.length && Number.isInteger(stored);
    const placed = count > 0 && first >= end && first + count <= clusters;
    const kept = from === LAYER_ZEROS || from + count <= stored;
    if (!whole || !placed || !kept) {
      throw new PandoError(
        'SNAPSHOT_DISK_INVALID',
        `run ${at / RUN_WORDS} of the snapshot's disk (${count} clusters at ${first}, from ${from}) does ` +
          `not fit a disk of ${clusters} clusters, its file of ${stored}, or overlaps another`,
        { remedy: 'make the snapshot again: this one is damaged' },
      );
    }
    end = first + count;
  }
}

/** Bytes that come from one place. */
interface Share {
  readonly at: number;
  readonly length: number;
  /** Undefined for zeros. */
  readonly disk: DiskReader | undefined;
  /** First byte there. */
  readonly from: number;
}

/** The disk as it stood at the capture. */
export class LayeredDisk implements DiskReader {
  readonly #base: DiskReader;
  readonly #layer: FileDisk;
  readonly #runs: Uint32Array;

  constructor(base: FileDiskHandle, { fd, bytes, runs }: DiskLayer) {
    this.#base = new FileDisk(base);
    this.#layer = new FileDisk({ fd, bytes, readOnly: true });
    this.#runs = runs;
  }

  /** Index of the first run that ends behind a cluster. */
  #runAt(cluster: number): number {
    let low = 0;
    let high = this.#runs.length / RUN_WORDS;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const at = middle * RUN_WORDS;
      if (this.#runs[at]! + this.#runs[at + 1]! <= cluster) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  *#shares(at: number, length: number): Generator<Share> {
    const end = at + length;
    let run = this.#runAt(Math.floor(at / CLUSTER)) * RUN_WORDS;
    while (at < end) {
      const first = (this.#runs[run] ?? Number.POSITIVE_INFINITY) * CLUSTER;
      if (at < first) {
        const next = Math.min(end, first);
        yield { at, length: next - at, disk: this.#base, from: at };
        at = next;
        continue;
      }
      const next = Math.min(end, first + this.#runs[run + 1]! * CLUSTER);
      const from = this.#runs[run + 2]!;
      const disk = from === LAYER_ZEROS ? undefined : this.#layer;
      yield { at, length: next - at, disk, from: from * CLUSTER + at - first };
      at = next;
      run += RUN_WORDS;
    }
  }

  read(at: number, into: readonly Uint8Array[]): void {
    const pieces = new Pieces(into);
    for (const { disk, from, length } of this.#shares(at, pieces.length)) {
      const part = pieces.take(length);
      if (disk === undefined) for (const piece of part) piece.fill(0);
      else disk.read(from, part);
    }
  }

  async readSlowly(at: number, into: Uint8Array): Promise<void> {
    let done = 0;
    for (const { disk, from, length } of this.#shares(at, into.length)) {
      const part = into.subarray(done, done + length);
      if (disk === undefined) part.fill(0);
      else await disk.readSlowly(from, part);
      done += length;
    }
  }
}

/** Builds the runs and the file of a layer from clusters that come in order. */
export class LayerBuilder {
  readonly #write: (bytes: Uint8Array) => void;
  readonly #words: number[] = [];
  #stored = 0;

  /** @param write writes whole clusters behind those before */
  constructor(write: (bytes: Uint8Array) => void) {
    this.#write = write;
  }

  /** @param bytes whole clusters of the disk from `cluster` on */
  add(cluster: number, bytes: Uint8Array): void {
    const zeros = (index: number): boolean =>
      Buffer.compare(bytes.subarray(index * CLUSTER, (index + 1) * CLUSTER), ZEROS) === 0;
    const count = bytes.length / CLUSTER;
    for (let index = 0; index < count; ) {
      const empty = zeros(index);
      let end = index + 1;
      while (end < count && zeros(end) === empty) end += 1;
      this.#append(cluster + index, end - index, empty);
      if (!empty) this.#write(bytes.subarray(index * CLUSTER, end * CLUSTER));
      index = end;
    }
  }

  #append(first: number, count: number, empty: boolean): void {
    const from = empty ? LAYER_ZEROS : this.#stored;
    if (!empty) this.#stored += count;
    const last = this.#words.length - RUN_WORDS;
    const follows = last >= 0 && this.#words[last]! + this.#words[last + 1]! === first;
    if (follows && (this.#words[last + 2] === LAYER_ZEROS) === empty) {
      this.#words[last + 1] = this.#words[last + 1]! + count;
    } else this.#words.push(first, count, from);
  }

  /** Bytes written, and the runs. */
  finish(): Omit<DiskLayer, 'fd'> {
    const runs = new Uint32Array(new SharedArrayBuffer(this.#words.length * 4));
    runs.set(this.#words);
    return { bytes: this.#stored * CLUSTER, runs };
  }
}

const ZEROS = Buffer.alloc(CLUSTER);

/** Calls `use` for each run of the layer: where it lies on the disk, in clusters. */
export function forEachRun(runs: Uint32Array, use: (first: number, count: number) => void): void {
  for (let at = 0; at < runs.length; at += RUN_WORDS) use(runs[at]!, runs[at + 1]!);
}
