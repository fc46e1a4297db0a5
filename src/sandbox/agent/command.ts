/**
 * A command that runs in a guest: streams with flow control of their own each, signals, the end. Closing
 * it ends its process group.
 */
import { constants } from 'node:os';
import { Readable, Writable } from 'node:stream';
import { PandoError } from '../../error.js';
import { type AgentChannel, protocolError } from './channel.js';
import {
  EXIT,
  encodeFrame,
  FRAME_PAYLOAD_MAX,
  INPUT,
  OUTPUT_CREDIT,
  REPLY,
  STDIN_CREDIT,
} from './protocol.js';

/** How a command ended. */
export interface CommandExit {
  /** 0–255; undefined when a signal ended it. */
  readonly exitCode: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
}

const SIGNAL_NAMES = new Map(
  Object.entries(constants.signals).map(([name, number]) => [number, name as NodeJS.Signals]),
);

/** Credit is given back in pieces of at least this, so that small reads do not each cost a frame. */
const CREDIT_LEAST = 16384;

function words(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [i, value] of values.entries()) bytes.writeUInt32LE(value, i * 4);
  return bytes;
}

/** Output or errors. The agent has credit for what its reader has taken. */
class CommandOutput extends Readable {
  #received = 0;
  #credited = 0;

  constructor(private readonly giveCredit: (bytes: number) => void) {
    super({ highWaterMark: OUTPUT_CREDIT / 4 });
  }

  /**
   * Takes a frame; an empty one is the end.
   * @throws PandoError AGENT_PROTOCOL when the agent has no credit for it
   */
  receive(bytes: Buffer): void {
    if (bytes.length === 0) {
      this.push(null);
      return;
    }
    this.#received += bytes.length;
    if (this.#received - this.#credited > OUTPUT_CREDIT) {
      throw protocolError('more output than it had credit for');
    }
    this.push(bytes);
    this.#creditTaken();
  }

  override _read(): void {}

  /** Readers take from the buffer here, or in `push` when it is empty; `_read` need not be called for either. */
  override read(size?: number): unknown {
    const taken: unknown = super.read(size);
    this.#creditTaken();
    return taken;
  }

  #creditTaken(): void {
    const taken = this.#received - this.readableLength - this.#credited;
    if (taken < CREDIT_LEAST) return;
    this.#credited += taken;
    this.giveCredit(taken);
  }
}

/** Standard input. Writes wait for the credit that the agent gives. */
class CommandInput extends Writable {
  #credit = STDIN_CREDIT;
  #waiting: (() => void) | undefined;
  #ended = false;

  constructor(private readonly channel: AgentChannel) {
    super();
  }

  credit(bytes: number): void {
    this.#credit += bytes;
    if (this.#credit > STDIN_CREDIT) throw protocolError('more credit than there is input');
    this.#wake();
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.();
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#send(chunk).then(() => done(), done);
  }

  async #send(chunk: Buffer): Promise<void> {
    for (let at = 0; at < chunk.length && !this.#ended; ) {
      if (this.#credit === 0) {
        await new Promise<void>((resolve) => {
          this.#waiting = resolve;
        });
        continue;
      }
      const length = Math.min(chunk.length - at, this.#credit, FRAME_PAYLOAD_MAX);
      this.#credit -= length;
      await this.channel.send(encodeFrame(INPUT.DATA, chunk.subarray(at, at + length)));
      at += length;
    }
  }

  override _final(done: (error?: Error | null) => void): void {
    this.channel.send(encodeFrame(INPUT.END)).then(() => done(), done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#ended = true;
    this.#wake();
    done(error);
  }
}

export class AgentCommand {
  readonly pid: number;
  /** Closed when the command has ended. */
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** Ends at once for a command on a terminal. */
  readonly stderr: Readable;
  /** Rejects with AGENT_LOST or AGENT_PROTOCOL, COMMAND_CLOSED after `close`, and the error of a guest that ended. */
  readonly exited: Promise<CommandExit>;
  readonly #channel: AgentChannel;
  readonly #explain: (error: unknown) => Promise<unknown>;
  readonly #input: CommandInput;
  readonly #outputs: readonly [CommandOutput, CommandOutput];
  #closed = false;

  /**
   * @param channel on which the request has been answered by OK with `pid`
   * @param explain why the command was lost, when more is known than its channel tells
   */
  constructor(channel: AgentChannel, pid: number, explain: (error: unknown) => Promise<unknown>) {
    this.pid = pid;
    this.#explain = explain;
    this.#channel = channel;
    const output = (stream: number): CommandOutput =>
      new CommandOutput(
        (bytes) => void channel.send(encodeFrame(INPUT.CREDIT, words(stream, bytes))),
      );
    this.#outputs = [output(1), output(2)];
    this.#input = new CommandInput(channel);
    this.stdin = this.#input;
    [this.stdout, this.stderr] = this.#outputs;
    this.exited = this.#run();
    this.exited.catch(() => undefined);
  }

  async #run(): Promise<CommandExit> {
    let failure: Error | undefined;
    try {
      for (;;) {
        const { type, payload } = await this.#channel.next();
        if (type === REPLY.STDOUT) this.#outputs[0].receive(payload);
        else if (type === REPLY.STDERR) this.#outputs[1].receive(payload);
        else if (type === REPLY.CREDIT && payload.length === 4) {
          this.#input.credit(payload.readUInt32LE(0));
        } else if (type === REPLY.EXIT && payload.length === 8) return exitOf(payload);
        else throw protocolError(`type 0x${type.toString(16)} about a running command`);
      }
    } catch (error) {
      failure = this.#closed ? closedError() : ((await this.#explain(error)) as Error);
      throw failure;
    } finally {
      // What the command has not read is gone, and whoever sends more may stop.
      this.#input.destroy();
      for (const output of this.#outputs) {
        if (failure === undefined) output.push(null);
        else if (!output.readableEnded)
          output.destroy(output.listenerCount('error') > 0 ? failure : undefined);
      }
      this.#channel.close();
    }
  }

  /**
   * Sends a signal to the command's process group.
   * @throws PandoError SIGNAL_UNKNOWN
   */
  kill(signal: NodeJS.Signals | number = 'SIGTERM'): void {
    const number = typeof signal === 'number' ? signal : constants.signals[signal];
    if (!Number.isInteger(number) || number < 0 || number > 64) {
      throw new PandoError('SIGNAL_UNKNOWN', `there is no signal ${signal}`);
    }
    void this.#channel.send(encodeFrame(INPUT.SIGNAL, words(number)));
  }

  /** The size of its terminal, in characters. */
  resize(rows: number, columns: number): void {
    const size = Buffer.alloc(4);
    size.writeUInt16LE(rows & 0xffff, 0);
    size.writeUInt16LE(columns & 0xffff, 2);
    void this.#channel.send(encodeFrame(INPUT.RESIZE, size));
  }

  /** Ends its process group, if it still runs. */
  close(): void {
    this.#closed = true;
    this.#channel.close();
  }
}

function exitOf(payload: Buffer): CommandExit {
  const value = payload.readUInt32LE(4);
  if (payload.readUInt32LE(0) === EXIT.SIGNAL) {
    return {
      exitCode: undefined,
      signal: SIGNAL_NAMES.get(value) ?? (`SIG${value}` as NodeJS.Signals),
    };
  }
  return { exitCode: value & 0xff, signal: undefined };
}

function closedError(): PandoError {
  return new PandoError('COMMAND_CLOSED', 'the command was closed before it had ended');
}
