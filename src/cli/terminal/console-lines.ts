/**
 * A guest's console as lines: the last ones, for messages, and lines as they are completed. Control
 * sequences (ECMA-48, 5.4) and other control characters are left out, so that a guest cannot steer the
 * terminal of whoever reads a message.
 */

/** Bytes kept; more than the lines that any message shows. */
const TAIL_BYTES = 16 * 1024;
/** A line longer than this is given in pieces. */
const LINE_BYTES = 4096;
const LINE_FEED = 10;

const CONTROL = new RegExp(
  [
    // Control sequences, operating system commands, other escape sequences, single characters.
    '\\u001b\\[[0-?]*[ -/]*[@-~]',
    '\\u001b\\][^\\u0007\\u001b]*(?:\\u0007|\\u001b\\\\)?',
    '\\u001b[ -/]*[0-~]',
    '[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f]',
  ].join('|'),
  'g',
);

/** Text without anything that a terminal would act on. */
export function printable(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes).replace(CONTROL, '');
}

function concatenate(a: Uint8Array, b: Uint8Array): Uint8Array {
  const joined = new Uint8Array(a.length + b.length);
  joined.set(a);
  joined.set(b, a.length);
  return joined;
}

/** The end of a console's output. */
export class ConsoleTail {
  private bytes: Uint8Array = new Uint8Array(0);

  feed(bytes: Uint8Array): void {
    const joined = concatenate(this.bytes, bytes);
    this.bytes = joined.slice(Math.max(0, joined.length - TAIL_BYTES));
  }

  /** The last lines with anything on them, oldest first; an unfinished one counts. */
  last(count: number): string[] {
    return printable(this.bytes)
      .split('\n')
      .map((line) => line.trimEnd())
      .filter((line) => line !== '')
      .slice(-count);
  }
}

/** Cuts a stream of bytes into lines. */
export class LineCutter {
  private rest: Uint8Array = new Uint8Array(0);

  /** @param emit gets each line without its end (LF or CR LF) */
  constructor(private readonly emit: (line: Uint8Array) => void) {}

  feed(bytes: Uint8Array): void {
    let from = 0;
    for (;;) {
      const end = bytes.indexOf(LINE_FEED, from);
      if (end < 0) break;
      this.give(concatenate(this.rest, bytes.subarray(from, end)));
      this.rest = new Uint8Array(0);
      from = end + 1;
    }
    this.rest = concatenate(this.rest, bytes.subarray(from));
    if (this.rest.length > LINE_BYTES) this.flush();
  }

  /** Gives what has no end yet. */
  flush(): void {
    if (this.rest.length > 0) this.give(this.rest);
    this.rest = new Uint8Array(0);
  }

  private give(line: Uint8Array): void {
    this.emit(line.at(-1) === 13 ? line.subarray(0, -1) : line);
  }
}
