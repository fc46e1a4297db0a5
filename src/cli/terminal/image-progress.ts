/** Progress on a terminal: one line on standard error, drawn over itself. A pipe gets nothing. */
import type { ProgressSink } from '../../image/progress.js';

/** The stream that progress goes to; standard error, so that standard output stays parsable. */
export interface ProgressStream {
  readonly isTTY?: boolean;
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

/** A progress line, to be ended before anything else is printed. */
export interface ProgressLine {
  readonly sink: ProgressSink;
  /** Clears the line. */
  end(): void;
}

const CLEAR_LINE = '\r\x1b[K';

/** @param stream drawn on only when it is a terminal */
export function progressLine(stream: ProgressStream): ProgressLine {
  if (stream.isTTY !== true) return { sink: () => undefined, end: () => undefined };
  let drawn = '';
  return {
    sink: (phase, fraction) => {
      const percent = fraction === undefined ? '' : ` ${Math.round(fraction * 100)} %`;
      // A terminal of unknown width says 0. The fraction is what changes: the phase gives way.
      const width = (stream.columns || 80) - 1;
      const line = phase.slice(0, Math.max(0, width - percent.length)) + percent;
      if (line === drawn) return;
      drawn = line;
      stream.write(CLEAR_LINE + line);
    },
    end: () => {
      if (drawn !== '') stream.write(CLEAR_LINE);
      drawn = '';
    },
  };
}
