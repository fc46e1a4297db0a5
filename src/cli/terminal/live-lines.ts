/** Lines at the end of a terminal's output that change in place (ECMA-48: CUU, EL). */

/** The part of a terminal stream that is used. */
export interface TerminalStream {
  readonly isTTY?: boolean;
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

/** A block of lines. On anything but a terminal it shows nothing. */
export class LiveLines {
  private shown = 0;

  constructor(private readonly stream: TerminalStream) {}

  /** Shows these lines in place of the former ones, each cut to the terminal's width. */
  show(lines: readonly string[]): void {
    if (this.stream.isTTY !== true) return;
    const width = Math.max(1, (this.stream.columns ?? 80) - 1);
    const up = this.shown > 0 ? `\u001b[${this.shown}A` : '';
    const text = lines.map((line) => `\r\u001b[2K${line.slice(0, width)}\n`).join('');
    const surplus = Math.max(0, this.shown - lines.length);
    const cleared = '\r\u001b[2K\n'.repeat(surplus);
    const back = surplus > 0 ? `\u001b[${surplus}A` : '';
    this.stream.write(up + text + cleared + back);
    this.shown = lines.length;
  }

  /** Removes the lines. */
  clear(): void {
    this.show([]);
  }
}
