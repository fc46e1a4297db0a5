/**
 * A machine's state as bytes: a header in JSON with its length before it (u32, little-endian), then the
 * bytes of the parts, in order.
 */
import type { StatePart } from '../arch/state-part.js';
import { PandoError } from '../error.js';
import type { MachineState } from '../run/machine-state.js';
import type { AcceleratorName } from '../run/types.js';

interface Header {
  readonly version: number;
  readonly accelerator: AcceleratorName;
  readonly time: number;
  readonly parts: readonly {
    readonly name: string;
    readonly version: number;
    readonly bytes: number;
  }[];
}

export function encodeMachine({ version, accelerator, time, parts }: MachineState): Buffer {
  const header: Header = {
    version,
    accelerator,
    time,
    parts: parts.map((part) => ({
      name: part.name,
      version: part.version,
      bytes: part.bytes.length,
    })),
  };
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(text.length);
  return Buffer.concat([length, text, ...parts.map(({ bytes }) => bytes)]);
}

function invalid(what: string): PandoError {
  return new PandoError('SNAPSHOT_STATE_INVALID', `the machine's state in the snapshot ${what}`, {
    remedy: 'make the snapshot again: this one is damaged',
  });
}

function parseHeader(text: string): Header {
  try {
    const header = JSON.parse(text) as Header;
    const whole = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 0;
    const parts: unknown = header.parts;
    if (
      whole(header.version) &&
      (header.accelerator === 'wasm' || header.accelerator === 'kvm') &&
      Number.isFinite(header.time) &&
      Array.isArray(parts) &&
      header.parts.every(
        (part) => typeof part.name === 'string' && whole(part.version) && whole(part.bytes),
      )
    ) {
      return header;
    }
  } catch (cause) {
    if (!(cause instanceof SyntaxError) && !(cause instanceof TypeError)) throw cause;
  }
  throw invalid('has a header that is none');
}

/** @throws PandoError SNAPSHOT_STATE_INVALID */
export function decodeMachine(bytes: Buffer): MachineState {
  if (bytes.length < 4) throw invalid(`has ${bytes.length} bytes, less than its length`);
  const end = 4 + bytes.readUInt32LE(0);
  if (end > bytes.length)
    throw invalid(`has a header of ${end} bytes in a file of ${bytes.length}`);
  const header = parseHeader(bytes.toString('utf8', 4, end));
  let at = end;
  const parts = header.parts.map((part): StatePart => {
    const from = at;
    at += part.bytes;
    if (at > bytes.length) {
      throw invalid(`ends at ${bytes.length}, its part "${part.name}" at ${at}`);
    }
    return { name: part.name, version: part.version, bytes: bytes.subarray(from, at) };
  });
  if (at !== bytes.length) throw invalid(`has ${bytes.length - at} bytes behind its last part`);
  return { version: header.version, accelerator: header.accelerator, time: header.time, parts };
}
