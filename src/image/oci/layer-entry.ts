/**
 * What a layer does to the tree below it, one entry after the other, as its archive has them: the store
 * keeps it beside the layer's file data as JSON lines. Names are byte strings: one character a byte.
 */
import { PandoError } from '../../error.js';
import type { TarEntry } from '../tar.js';

const FORMAT = 1;

/** An entry of a layer's archive, and where a file's bytes are in the layer's data blob. */
export interface LayerEntry extends Omit<TarEntry, 'offset'> {
  /** Offset in the data blob, a multiple of 4096; 0 for a file without bytes. */
  readonly dataOffset: number;
}

const FIELDS = ['kind', 'name', 'linkName', 'permissions', 'uid', 'gid', 'mtime'] as const;
const MORE_FIELDS = ['mtimeNanoseconds', 'size', 'major', 'minor', 'dataOffset'] as const;

/** The first line of an index. */
export const LAYER_INDEX_HEADER = `${JSON.stringify({ format: FORMAT })}\n`;

/** One line of an index. */
export function formatLayerEntry(entry: LayerEntry): string {
  const xattrs = [...entry.xattrs].map(([name, value]) => [
    name,
    Buffer.from(value).toString('base64'),
  ]);
  const values = [...FIELDS, ...MORE_FIELDS].map((field) => entry[field]);
  return `${JSON.stringify([...values, xattrs])}\n`;
}

/**
 * Parses an index that the store has handed out with its hash checked or its size right.
 * @throws PandoError LAYER_INDEX_DAMAGED
 */
export function parseLayerIndex(text: string): LayerEntry[] {
  const [header, ...lines] = text.split('\n');
  if (`${header}\n` !== LAYER_INDEX_HEADER || lines.pop() !== '') throw damaged(1);
  return lines.map((line, index) => {
    try {
      const values = JSON.parse(line) as unknown[];
      const fields = [...FIELDS, ...MORE_FIELDS];
      const record = Object.fromEntries(fields.map((field, at) => [field, values[at]]));
      const numbers = [record.permissions, record.uid, record.gid, record.size, record.dataOffset];
      if (!numbers.every((value) => Number.isSafeInteger(value) && (value as number) >= 0)) {
        throw new TypeError('not a number');
      }
      const xattrs = values[fields.length] as [string, string][];
      const decoded = xattrs.map(([name, value]) => [name, Buffer.from(value, 'base64')] as const);
      return { ...record, xattrs: new Map(decoded) } as unknown as LayerEntry;
    } catch {
      throw damaged(index + 2);
    }
  });
}

function damaged(line: number): PandoError {
  return new PandoError('LAYER_INDEX_DAMAGED', `layer index: line ${line} cannot be read`, {
    remedy: 'pull or import the image again',
  });
}
