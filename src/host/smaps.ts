/**
 * The text of /proc/PID/smaps and smaps_rollup (proc(5)): a header line per mapping, then one line per
 * figure. Figures that a kernel does not print are absent; lines of other shapes (VmFlags) are skipped.
 */

/** One mapping. Addresses are below 2^47, so exact as numbers. */
export interface Mapping {
  /** Host address of the first byte. */
  readonly start: number;
  /** One past the last byte. */
  readonly end: number;
  /** Four letters, e.g. `rw-p`. */
  readonly permissions: string;
  /** Offset in the file of the first byte. */
  readonly offset: number;
  /** Device as `major:minor` in hexadecimal, and inode number; `00:00` and 0 for anonymous memory. */
  readonly device: string;
  readonly inode: number;
  /** Path, `[heap]` and the like, or empty. A deleted file's path ends in ` (deleted)`. */
  readonly path: string;
  /** Figures by the kernel's own names (`Rss`, `Private_Dirty`, ...), in bytes. */
  readonly figures: ReadonlyMap<string, number>;
}

const HEADER = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) ([0-9a-f]+:[0-9a-f]+) (\d+) *(.*)$/;
const FIGURE = /^([A-Za-z_]+): +(\d+) kB$/;

/** Parses either file; smaps_rollup gives one mapping whose path is `[rollup]`. */
export function parseSmaps(text: string): Mapping[] {
  const mappings: Mapping[] = [];
  let figures = new Map<string, number>();
  for (const line of text.split('\n')) {
    const figure = FIGURE.exec(line);
    if (figure) {
      figures.set(figure[1] ?? '', Number(figure[2]) * 1024);
      continue;
    }
    const header = HEADER.exec(line);
    if (!header) continue;
    figures = new Map();
    mappings.push({
      start: Number.parseInt(header[1] ?? '', 16),
      end: Number.parseInt(header[2] ?? '', 16),
      permissions: header[3] ?? '',
      offset: Number.parseInt(header[4] ?? '', 16),
      device: header[5] ?? '',
      inode: Number(header[6]),
      path: header[7] ?? '',
      figures,
    });
  }
  return mappings;
}
