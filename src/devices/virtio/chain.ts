/**
 * A descriptor chain as a device sees it: first what it reads, then what it writes, each as pieces of
 * guest RAM that were checked when the chain was taken.
 */
import type { DeviceMemory } from '../device-memory.js';

interface WritablePiece {
  readonly address: number;
  readonly bytes: Uint8Array;
}

export class Chain {
  readonly readable: Uint8Array[] = [];
  readonly writable: WritablePiece[] = [];
  readableBytes = 0;
  writableBytes = 0;

  /** @param head index of the first descriptor, which names the chain in the used ring */
  constructor(readonly head: number) {}

  addReadable(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.readable.push(bytes);
    this.readableBytes += bytes.length;
  }

  addWritable(address: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.writable.push({ address, bytes });
    this.writableBytes += bytes.length;
  }

  /** Copies from the readable part, beginning at byte `offset`; returns how many bytes there were. */
  read(offset: number, into: Uint8Array): number {
    let done = 0;
    for (const piece of this.readable) {
      if (done === into.length) break;
      if (offset >= piece.length) {
        offset -= piece.length;
        continue;
      }
      const part = piece.subarray(offset, offset + into.length - done);
      into.set(part, done);
      done += part.length;
      offset = 0;
    }
    return done;
  }

  /** Copies to the writable part, beginning at byte `offset`; returns how many bytes had room. */
  write(offset: number, from: Uint8Array): number {
    let done = 0;
    for (const { bytes } of this.writable) {
      if (done === from.length) break;
      if (offset >= bytes.length) {
        offset -= bytes.length;
        continue;
      }
      const count = Math.min(bytes.length - offset, from.length - done);
      bytes.set(from.subarray(done, done + count), offset);
      done += count;
      offset = 0;
    }
    return done;
  }

  /** The pieces of the readable part from byte `from` to byte `end`, for a host end that reads them. */
  readablePieces(from: number, end: number): Uint8Array[] {
    return pieces(this.readable, from, end);
  }

  /** The same of the writable part. */
  writablePieces(from: number, end: number): Uint8Array[] {
    return pieces(
      this.writable.map(({ bytes }) => bytes),
      from,
      end,
    );
  }

  /** Tells of the first `written` bytes of the writable part. */
  announce(written: number, memory: DeviceMemory): void {
    for (const { address, bytes } of this.writable) {
      if (written <= 0) return;
      memory.written(address, Math.min(written, bytes.length));
      written -= bytes.length;
    }
  }
}

function pieces(all: readonly Uint8Array[], from: number, end: number): Uint8Array[] {
  const found: Uint8Array[] = [];
  let at = 0;
  for (const piece of all) {
    const first = Math.max(from - at, 0);
    const last = Math.min(end - at, piece.length);
    if (first < last) found.push(piece.subarray(first, last));
    at += piece.length;
    if (at >= end) break;
  }
  return found;
}
