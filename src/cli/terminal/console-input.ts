/**
 * The user's side of an interactive console. On a terminal every key goes to the guest (raw mode,
 * termios(3)) except those after Ctrl-A; from a pipe or file every byte goes.
 */
import { CONSOLE_HELP, EscapeFilter } from './escape-filter.js';

/** The part of standard input that is used. */
export interface InputStream {
  readonly isTTY?: boolean;
  setRawMode?(raw: boolean): unknown;
  on(event: 'data', listener: (bytes: Uint8Array) => void): unknown;
  off(event: 'data', listener: (bytes: Uint8Array) => void): unknown;
  resume(): unknown;
  pause(): unknown;
}

/** What the input is connected with. */
export interface ConsoleInputTarget {
  /** Bytes for the guest. */
  write(bytes: Uint8Array): void;
  /** Text for the terminal. */
  show(text: string): void;
  quit(): void;
}

/**
 * Connects standard input with a guest.
 * @returns what disconnects it and restores the terminal; may be called again
 */
export function connectInput(input: InputStream, target: ConsoleInputTarget): () => void {
  const terminal = input.isTTY === true;
  const filter = new EscapeFilter(target.write, (command) => {
    if (command === 'quit') target.quit();
    else target.show(CONSOLE_HELP);
  });
  const listener = (bytes: Uint8Array): void => {
    if (terminal) filter.feed(bytes);
    else target.write(bytes);
  };
  let connected = true;
  const restore = (): void => {
    if (!connected) return;
    connected = false;
    process.off('exit', restore);
    input.off('data', listener);
    if (terminal) input.setRawMode?.(false);
    input.pause();
  };
  // An exception that nobody catches still passes through 'exit'.
  process.on('exit', restore);
  if (terminal) input.setRawMode?.(true);
  input.on('data', listener);
  input.resume();
  return restore;
}
