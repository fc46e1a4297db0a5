/** One connection to the agent: a request, then frames both ways. It owns the stream under it. */
import { constants } from 'node:os';
import type { Duplex, Writable } from 'node:stream';
import { PandoError } from '../../error.js';
import { type Frame, FrameReader, REPLY } from './protocol.js';

const ERRNO_NAMES = new Map(
  Object.entries(constants.errno).map(([name, number]) => [number, name] as const),
);

/** Bytes of an ERROR before its text. */
const ERROR_NUMBER = 4;

/** A system call that failed in the guest: `GUEST_ENOENT` and so on, with what it was about. */
function guestError(payload: Buffer): PandoError {
  if (payload.length < ERROR_NUMBER) return protocolError('an error of less than 4 bytes');
  const number = payload.readUInt32LE(0);
  const name = ERRNO_NAMES.get(number) ?? `E${number}`;
  const about = payload.toString('utf8', ERROR_NUMBER);
  return new PandoError(`GUEST_${name}`, `in the guest: ${about}: ${name}`);
}

/** The agent has sent what the protocol does not have. */
export function protocolError(what: string): PandoError {
  return new PandoError('AGENT_PROTOCOL', `the agent sent ${what}`, {
    remedy: 'the guest is not to be trusted any more: end it',
  });
}

function lostError(cause?: unknown): PandoError {
  return new PandoError(
    'AGENT_LOST',
    'the connection to the agent ended in the middle of a request',
    {
      remedy: 'see whether the guest still runs, and what its console says',
      cause,
    },
  );
}

/** Resolves when a stream takes more, or has been closed. */
export async function roomIn(stream: Writable): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = (): void => {
      stream.off('drain', done);
      stream.off('close', done);
      resolve();
    };
    stream.on('drain', done);
    stream.on('close', done);
  });
}

export class AgentChannel {
  readonly #stream: Duplex;
  readonly #chunks: AsyncIterator<Buffer>;
  readonly #reader = new FrameReader();
  readonly #ended: () => PandoError | undefined;
  #failure: unknown;

  /**
   * @param stream just opened; the channel closes it
   * @param ended the error of a guest that has ended; undefined before
   */
  constructor(stream: Duplex, request: Buffer, ended: () => PandoError | undefined) {
    this.#stream = stream;
    this.#ended = ended;
    stream.on('error', (error) => {
      this.#failure ??= error;
    });
    this.#chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    stream.write(request);
  }

  /**
   * The next frame.
   * @throws PandoError AGENT_LOST, AGENT_PROTOCOL, GUEST_… for an ERROR, and that of a guest that has ended
   */
  async next(): Promise<Frame> {
    for (;;) {
      const frame = this.#reader.next();
      if (frame?.type === REPLY.ERROR) throw guestError(frame.payload);
      if (frame !== undefined) return frame;
      let chunk: IteratorResult<Buffer>;
      try {
        chunk = await this.#chunks.next();
      } catch (error) {
        throw this.#ended() ?? lostError(error);
      }
      if (chunk.done === true) throw this.#ended() ?? lostError(this.#failure);
      this.#reader.push(chunk.value);
    }
  }

  /**
   * The next frame, which must be of one type.
   * @throws PandoError as `next`
   */
  async expect(type: number): Promise<Buffer> {
    const frame = await this.next();
    if (frame.type === type) return frame.payload;
    throw protocolError(
      `a frame of type 0x${frame.type.toString(16)} instead of 0x${type.toString(16)}`,
    );
  }

  /** Sends a frame; resolves when there is room for another. Never rejects: `next` tells of the end. */
  async send(frame: Buffer): Promise<void> {
    const stream = this.#stream;
    if (!stream.destroyed && !stream.write(frame)) await roomIn(stream);
  }

  close(): void {
    this.#stream.destroy();
  }
}
