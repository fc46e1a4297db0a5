/** What a sandbox's guest has printed on its console: the end of it, line by line. */
import { StringDecoder } from 'node:string_decoder';

export interface LogLine {
  /** From 1 on, without gaps: whoever has seen some asks for those behind the last. */
  readonly number: number;
  /** When its end came. */
  readonly time: Date;
  /** UTF-8, without the end of the line. */
  readonly text: string;
}

/** Characters that are kept, and of one line: a longer one is several. */
const LIMIT = 256 * 1024;
const LINE_LIMIT = 8192;
/** Beside its text, so that empty lines are bounded, too. */
const LINE_COST = 64;

export class ConsoleLog {
  readonly #decoder = new StringDecoder('utf8');
  #lines: LogLine[] = [];
  #size = 0;
  /** A line whose end is still to come. */
  #open = '';
  #number = 0;

  /** @param now the clock */
  constructor(private readonly now: () => Date = () => new Date()) {}

  add(bytes: Uint8Array): void {
    const text = this.#open + this.#decoder.write(bytes as Buffer);
    const pieces = text.split('\n');
    this.#open = pieces.pop() ?? '';
    for (const piece of pieces) this.#end(piece.replace(/\r+$/, ''));
    for (; this.#open.length > LINE_LIMIT; this.#open = this.#open.slice(LINE_LIMIT)) {
      this.#end(this.#open.slice(0, LINE_LIMIT));
    }
  }

  #end(text: string): void {
    for (let at = 0; at === 0 || at < text.length; at += LINE_LIMIT) {
      this.#number += 1;
      const piece = text.slice(at, at + LINE_LIMIT);
      this.#lines.push({ number: this.#number, time: this.now(), text: piece });
      this.#size += piece.length + LINE_COST;
    }
    let gone = 0;
    for (; this.#size > LIMIT; gone += 1) {
      this.#size -= (this.#lines[gone]?.text.length ?? 0) + LINE_COST;
    }
    if (gone > 0) this.#lines = this.#lines.slice(gone);
  }

  /** Lines that have ended, oldest first. @param after of these none up to this number */
  lines(after = 0): readonly LogLine[] {
    const first = this.#lines[0]?.number ?? 1;
    return this.#lines.slice(Math.max(0, after + 1 - first));
  }
}
