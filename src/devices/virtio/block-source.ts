/**
 * What a block device reads from and writes to. Positions and lengths are bytes, multiples of 512 and
 * within `bytes`; the caller sees to that. Every method throws, or rejects with, the host's error: it
 * becomes an I/O error of that request in the guest.
 */
export interface BlockSource {
  /** Size of the disk. */
  readonly bytes: number;
  readonly readOnly: boolean;
  /** Bytes of a block that can be punched out as a whole. */
  readonly blockBytes: number;
  /** Fills the pieces in turn. On any thread. */
  read(at: number, into: readonly Uint8Array[]): void;
  /** Writes the pieces in turn. On any thread. */
  write(at: number, from: readonly Uint8Array[]): void;
  /** `read` and `write` beside the thread; on the VM's I/O thread. */
  readSlowly(at: number, into: Uint8Array): Promise<void>;
  writeSlowly(at: number, from: Uint8Array): Promise<void>;
  /** Resolves once everything that was written is on the disk. */
  flush(): Promise<void>;
  /** The bytes read as zeros from now on; with `unmap` the host may take their room back. */
  zero(at: number, length: number, unmap: boolean): Promise<void>;
}
