/** What outputs write to: a descriptor, or a stream of Node's for a pipe or socket. */
import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { Output, type OutputPort } from './output.js';

/** A descriptor that takes nothing is tried again after so many milliseconds, at first and at last. */
const RETRY_FIRST_MS = 1;
const RETRY_LAST_MS = 20;

/**
 * A descriptor in non-blocking mode (open(2), O_NONBLOCK): EAGAIN says that its reader has stalled. A
 * regular file knows no such mode and takes what the disk takes.
 */
export class DescriptorPort implements OutputPort {
  private timer: NodeJS.Timeout | undefined;

  /** @param owned whether `close` closes the descriptor */
  constructor(
    private readonly descriptor: number,
    private readonly owned: boolean,
  ) {}

  send(bytes: Uint8Array, done: (cause?: NodeJS.ErrnoException) => void): void {
    let rest = bytes;
    let delay = RETRY_FIRST_MS;
    const attempt = (): void => {
      try {
        while (rest.length > 0) {
          const taken = writeSync(this.descriptor, rest);
          rest = rest.subarray(taken);
          if (taken > 0) delay = RETRY_FIRST_MS;
        }
      } catch (cause) {
        const error = cause as NodeJS.ErrnoException;
        if (error.code !== 'EAGAIN') {
          done(error);
          return;
        }
        this.timer = setTimeout(attempt, delay);
        delay = Math.min(2 * delay, RETRY_LAST_MS);
        return;
      }
      done();
    };
    attempt();
  }

  close(): void {
    clearTimeout(this.timer);
    if (this.owned) closeSync(this.descriptor);
  }
}

/** A pipe or socket, which Node writes to without blocking. */
class StreamPort implements OutputPort {
  constructor(private readonly stream: NodeJS.WriteStream) {
    // The callback of `write` has the error already; an event without listener would end the process.
    stream.on('error', () => undefined);
  }

  send(bytes: Uint8Array, done: (cause?: NodeJS.ErrnoException) => void): void {
    this.stream.write(bytes, (cause) => done(cause ?? undefined));
  }

  close(): void {
    // The stream is the process's own.
  }
}

/**
 * A terminal, opened again by its name in /proc: the mode of the descriptor that the process was given is
 * shared with others, the shell among them (open(2), "open file description").
 */
function terminalPort(descriptor: number): DescriptorPort {
  const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = constants;
  try {
    const path = `/proc/self/fd/${descriptor}`;
    return new DescriptorPort(openSync(path, O_WRONLY | O_NONBLOCK | O_NOCTTY), true);
  } catch {
    // Another user's terminal, or no /proc: then a terminal that stalls makes the process wait.
    return new DescriptorPort(descriptor, false);
  }
}

/** Opens standard output or standard error. */
export function openStandardOutput(name: string, descriptor: 1 | 2): Output {
  const stream = (): NodeJS.WriteStream => (descriptor === 1 ? process.stdout : process.stderr);
  if (isatty(descriptor)) {
    const screen = {
      isTTY: true,
      get columns() {
        return stream().columns;
      },
      get rows() {
        return stream().rows;
      },
    };
    return new Output(name, terminalPort(descriptor), screen);
  }
  const kind = fstatSync(descriptor);
  const piped = kind.isFIFO() || kind.isSocket();
  return new Output(name, piped ? new StreamPort(stream()) : new DescriptorPort(descriptor, false));
}

/**
 * Opens a file for writing, emptied first; a FIFO needs a reader (open(2), ENXIO).
 * @throws the system's error
 */
export function openOutputFile(path: string): Output {
  const { O_WRONLY, O_CREAT, O_TRUNC, O_NONBLOCK, O_NOCTTY } = constants;
  const flags = O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_NOCTTY;
  return new Output(path, new DescriptorPort(openSync(path, flags, 0o666), true));
}
