/**
 * The protocol between host and agent (docs/agent.md): frames, the fields of a request, entries of files.
 * agent/protocol.h has the same numbers; protocol.test.ts compares the two. Little-endian.
 */
import { PandoError } from '../../error.js';

export const PROTOCOL_VERSION = 1;
/** vsock port that the agent listens on. */
export const AGENT_PORT = 1024;

/** u32 length of the payload, u8 type, three bytes of zeros. */
export const FRAME_HEADER = 8;
export const FRAME_PAYLOAD_MAX = 65536;
/** u16 tag, u16 zeros, u32 length. */
const FIELD_HEADER = 8;

/** The first frame of a connection. */
export const REQUEST = {
  PING: 0x01,
  EXEC: 0x02,
  CONNECT: 0x03,
  SYSTEM: 0x04,
  STAT: 0x10,
  LIST: 0x11,
  READ: 0x12,
  WRITE: 0x13,
  MKDIR: 0x14,
  RENAME: 0x15,
  REMOVE: 0x16,
  CHMOD: 0x17,
  SYMLINK: 0x18,
  WATCH: 0x19,
} as const;

/** From the host, after its request. */
export const INPUT = {
  DATA: 0x20,
  END: 0x21,
  SIGNAL: 0x22,
  RESIZE: 0x23,
  CREDIT: 0x24,
} as const;

/** From the agent. */
export const REPLY = {
  OK: 0x80,
  ERROR: 0x81,
  STDOUT: 0x82,
  STDERR: 0x83,
  EXIT: 0x84,
  CREDIT: 0x85,
  DATA: 0x86,
  ENTRY: 0x87,
  EVENT: 0x88,
  END: 0x89,
} as const;

/** Tags of a request's fields. */
export const FIELD = {
  VERSION: 1,
  ARGUMENT: 2,
  ENVIRONMENT: 3,
  DIRECTORY: 4,
  USER: 5,
  FLAGS: 6,
  SIZE: 7,
  PATH: 8,
  TARGET: 9,
  MODE: 10,
  OFFSET: 11,
  LENGTH: 12,
  DEPTH: 13,
  PORT: 14,
  CLOCK: 15,
  ENTROPY: 16,
  HOSTNAME: 17,
  MACHINE_ID: 18,
  ADDRESS: 19,
  TIMESTAMP: 20,
} as const;

/** Flags of EXEC. */
export const EXEC = { PTY: 1, STDIN: 2 } as const;

/** Flags of requests on files. */
export const FILE = { RECURSIVE: 1, APPEND: 2, EXCLUSIVE: 4, FOLLOW: 8, PARENTS: 16 } as const;

/** How a command ended. */
export const EXIT = { STATUS: 0, SIGNAL: 1 } as const;

/** Bytes of standard input that a command is given credit for at first. */
export const STDIN_CREDIT = 65536;
/** Bytes of output, and of errors, that the agent is given credit for at first. */
export const OUTPUT_CREDIT = 262144;

/** A frame as it came. */
export interface Frame {
  readonly type: number;
  /** Valid until the next frame is asked for. */
  readonly payload: Buffer;
}

/** A value of a request's field: text, bytes, or a number with its width in bytes. */
export type FieldValue =
  | string
  | Uint8Array
  | { readonly value: number | bigint; readonly width: 4 | 8 };

/** A u32 as a field's value. */
export const u32 = (value: number): FieldValue => ({ value, width: 4 });
/** A u64 as a field's value. */
export const u64 = (value: number | bigint): FieldValue => ({ value, width: 8 });

/**
 * A frame's bytes.
 * @throws PandoError AGENT_FRAME_TOO_LONG
 */
export function encodeFrame(type: number, ...payload: readonly Uint8Array[]): Buffer {
  const length = payload.reduce((sum, { byteLength }) => sum + byteLength, 0);
  if (length > FRAME_PAYLOAD_MAX) {
    throw new PandoError(
      'AGENT_FRAME_TOO_LONG',
      `a frame of ${length} bytes for the agent exceeds ${FRAME_PAYLOAD_MAX}`,
      { remedy: 'pass fewer or shorter arguments, environment variables and paths' },
    );
  }
  const frame = Buffer.allocUnsafe(FRAME_HEADER + length);
  frame.writeUInt32LE(length, 0);
  frame.writeUInt32LE(type, 4);
  let at = FRAME_HEADER;
  for (const part of payload) {
    frame.set(part, at);
    at += part.byteLength;
  }
  return frame;
}

function valueBytes(value: FieldValue): Uint8Array {
  if (typeof value === 'string') return Buffer.from(value, 'utf8');
  if (value instanceof Uint8Array) return value;
  const bytes = Buffer.alloc(value.width);
  if (value.width === 4) bytes.writeUInt32LE(Number(value.value) >>> 0);
  else bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value.value)));
  return bytes;
}

/**
 * The frame of a request, with the protocol's version.
 * @throws PandoError AGENT_TEXT_INVALID for text with a zero byte, AGENT_FRAME_TOO_LONG
 */
export function encodeRequest(
  type: number,
  fields: readonly (readonly [tag: number, value: FieldValue])[],
): Buffer {
  const parts: Uint8Array[] = [];
  for (const [tag, value] of [[FIELD.VERSION, u32(PROTOCOL_VERSION)] as const, ...fields]) {
    if (typeof value === 'string' && value.includes('\0')) {
      throw new PandoError('AGENT_TEXT_INVALID', `${JSON.stringify(value)} has a zero byte`, {
        remedy: 'pass text without zero bytes',
      });
    }
    const bytes = valueBytes(value);
    const head = Buffer.alloc(FIELD_HEADER);
    head.writeUInt16LE(tag, 0);
    head.writeUInt32LE(bytes.byteLength, 4);
    parts.push(head, bytes);
  }
  return encodeFrame(type, ...parts);
}

/** Puts the bytes of a connection together to frames. */
export class FrameReader {
  #held: Buffer = Buffer.alloc(0);

  push(bytes: Buffer): void {
    this.#held = this.#held.length === 0 ? bytes : Buffer.concat([this.#held, bytes]);
  }

  /** Whether bytes are left that make no frame yet. */
  get partial(): boolean {
    return this.#held.length > 0;
  }

  /**
   * The next frame that is whole; undefined when more bytes are needed.
   * @throws PandoError AGENT_PROTOCOL
   */
  next(): Frame | undefined {
    const held = this.#held;
    if (held.length < FRAME_HEADER) return undefined;
    const length = held.readUInt32LE(0);
    const type = held.readUInt32LE(4);
    if (length > FRAME_PAYLOAD_MAX || type > 0xff) {
      throw new PandoError(
        'AGENT_PROTOCOL',
        `the agent sent a malformed frame: length ${length} (at most ${FRAME_PAYLOAD_MAX}), type 0x${type.toString(16)}`,
        { remedy: 'the guest is not to be trusted any more: end it' },
      );
    }
    const end = FRAME_HEADER + length;
    if (held.length < end) return undefined;
    this.#held = held.subarray(end);
    return { type, payload: held.subarray(FRAME_HEADER, end) };
  }
}
