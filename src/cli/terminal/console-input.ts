/**
 * The user's side of an interactive console. On a terminal every key goes to the guest (raw mode,
 * termios(3)) except those after Ctrl-A; from a pipe or file every byte goes. Reading stops while the
 * guest has not taken the bytes before. An input that cannot be read, or not any more, has ended.
 */
import { CONSOLE_HELP, EscapeFilter } from './escape-filter.js';

/** The part of standard input that is used. */
export interface InputStream {
  readonly isTTY?: boolean;
  setRawMode?(raw: boolean): unknown;
  on(event: 'data', listener: (bytes: Uint8Array) => void): unknown;
  on(event: 'error', listener: () => void): unknown;
  off(event: 'data', listener: (bytes: Uint8Array) => void): unknown;
  resume(): unknown;
  pause(): unknown;
}

/** What the input is connected with. */
export interface ConsoleInputTarget {
  /**
   * Bytes for the guest.
   * @returns undefined, or what resolves when the guest can take more
   */
  write(bytes: Uint8Array): Promise<void> | undefined;
  /** Text for the terminal. */
  show(text: string): void;
  quit(): void;
}

/** Keys that wait for the guest until even a terminal is not read: more than anybody pastes. */
const TERMINAL_WAITING_LIMIT = 1024 * 1024;

/**
 * Pauses an input while bytes wait. A terminal is read on for a while, because the escape key has to work
 * while the guest takes nothing.
 */
class Throttle {
  private waiting = 0;

  constructor(
    private readonly input: InputStream,
    private readonly limit: number,
    private readonly connected: () => boolean,
  ) {}

  add(bytes: number, taken: Promise<void> | undefined): void {
    if (taken === undefined) return;
    this.waiting += bytes;
    if (this.waiting >= this.limit) this.input.pause();
    void taken.then(() => {
      this.waiting -= bytes;
      if (this.waiting < this.limit && this.connected()) this.input.resume();
    });
  }
}

/**
 * Connects standard input with a guest.
 * @returns what disconnects it and restores the terminal; may be called again
 */
export function connectInput(input: InputStream, target: ConsoleInputTarget): () => void {
  const terminal = input.isTTY === true;
  let connected = true;
  const throttle = new Throttle(input, terminal ? TERMINAL_WAITING_LIMIT : 1, () => connected);
  const give = (bytes: Uint8Array): void => throttle.add(bytes.length, target.write(bytes));
  const filter = new EscapeFilter(give, (command) => {
    if (command === 'quit') target.quit();
    else target.show(CONSOLE_HELP);
  });
  const listener = (bytes: Uint8Array): void => {
    if (terminal) filter.feed(bytes);
    else give(bytes);
  };
  // A shell puts the terminal into its own mode when its job stops; the stream knows nothing of it, and
  // sets raw mode only when it is not in it already.
  const continued = (): void => {
    input.setRawMode?.(false);
    input.setRawMode?.(true);
  };
  const restore = (): void => {
    if (!connected) return;
    connected = false;
    process.off('exit', restore);
    process.off('SIGCONT', continued);
    input.off('data', listener);
    if (terminal) input.setRawMode?.(false);
    input.pause();
  };
  // It stays: what is read in the background, and setting the mode of a terminal that has gone, may fail
  // after the end.
  input.on('error', () => undefined);
  // An exception that nobody catches still passes through 'exit', where terminals that have gone are let go behind this.
  process.prependListener('exit', restore);
  if (terminal) {
    input.setRawMode?.(true);
    process.on('SIGCONT', continued);
  }
  input.on('data', listener);
  input.resume();
  return restore;
}
