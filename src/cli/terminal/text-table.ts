/** Tables of plain text: columns padded to their widest cell. */

/** One column. */
export interface Column {
  readonly title: string;
  /** Where its cells stand; texts left, figures right. */
  readonly align: 'left' | 'right';
}

/** Bold and faint text where the stream is a terminal (ECMA-48, SGR), unless NO_COLOR is set. */
export interface Style {
  bold(text: string): string;
  faint(text: string): string;
}

/** @param stream where the text goes */
export function styleFor(
  stream: { readonly isTTY?: boolean },
  env: NodeJS.ProcessEnv = process.env,
): Style {
  const on = stream.isTTY === true && !env.NO_COLOR;
  const sgr = (code: number) => (text: string) => (on ? `\u001b[${code}m${text}\u001b[0m` : text);
  return { bold: sgr(1), faint: sgr(2) };
}

/**
 * @param rows cells as text, as many a row as there are columns
 * @returns the table's lines, the titles first, each ended by a line feed
 */
export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  style: Style,
): string {
  const widths = columns.map((column, index) =>
    Math.max(column.title.length, ...rows.map((row) => (row[index] ?? '').length)),
  );
  const line = (cells: readonly string[]): string =>
    columns
      .map(({ align }, index) => {
        const cell = cells[index] ?? '';
        const width = widths[index] ?? 0;
        return align === 'left' ? cell.padEnd(width) : cell.padStart(width);
      })
      .join('  ')
      .trimEnd();
  const titles = style.bold(line(columns.map(({ title }) => title)));
  return `${[titles, ...rows.map(line)].join('\n')}\n`;
}
