/** The agent of a guest, as the host calls it: a connection for each request (docs/agent.md). */
import { Duplex, Readable } from 'node:stream';
import { PandoError } from '../../error.js';
import { AgentChannel, protocolError } from './channel.js';
import { AgentCommand } from './command.js';
import { decodeEntry, type FileEntry } from './entry.js';
import {
  EXEC,
  encodeFrame,
  encodeRequest,
  FIELD,
  FILE,
  type FieldValue,
  FRAME_PAYLOAD_MAX,
  INPUT,
  REPLY,
  REQUEST,
  u32,
  u64,
} from './protocol.js';

/** What a command is started with. */
export interface ExecRequest {
  /** The program, looked up in PATH, and its arguments. */
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** `name`, `uid`, either with `:group`. The agent's own user when absent. */
  readonly user?: string;
  /** Standard input comes from the host; without it the command reads /dev/null. */
  readonly stdin?: boolean;
  /** A terminal of this size instead of pipes. */
  readonly pty?: { readonly rows: number; readonly columns: number };
}

export interface WriteOptions {
  /** Permission bits of a file that is made; 0644 when absent. */
  readonly mode?: number;
  readonly append?: boolean;
  /** Fails when there is such a file. */
  readonly exclusive?: boolean;
  /** Makes the folders above it. */
  readonly parents?: boolean;
}

/** What makes a clone a machine of its own. */
export interface SystemRequest {
  /** Nanoseconds since 1970. */
  readonly clock?: bigint;
  /** The guest's time-stamp counter when it was so late, where it counts nanoseconds. */
  readonly timestamp?: bigint;
  /** At most 512 bytes. */
  readonly entropy?: Uint8Array;
  readonly hostname?: string;
  readonly machineId?: string;
}

/** Something that happened to a watched folder; `mask` and `cookie` are those of inotify(7). */
export interface WatchEvent {
  readonly mask: number;
  readonly cookie: number;
  /** Path below the watched folder. */
  readonly path: string;
}

/** What is known of the end of an agent's guest. */
export interface GuestEnd {
  /** The error of all requests once the guest has ended; undefined before. */
  readonly error: PandoError | undefined;
  /** Resolves when it has ended. */
  readonly ended: Promise<unknown>;
}

/** How long a guest that shuts down may go on when its agent has gone, in milliseconds. */
const SHUTDOWN_LIMIT = 5000;

type Fields = (readonly [tag: number, value: FieldValue])[];

function flagsOf(...choices: readonly (readonly [boolean | undefined, number])[]): FieldValue {
  return u32(choices.reduce((bits, [chosen, bit]) => (chosen === true ? bits | bit : bits), 0));
}

export class Agent {
  /**
   * @param connect opens a connection to the agent, e.g. over vsock
   * @param guest where the agent runs, if that can end
   */
  constructor(
    private readonly connect: () => Promise<Duplex>,
    private readonly guest?: GuestEnd,
  ) {}

  async #open(type: number, fields: Fields): Promise<AgentChannel> {
    const request = encodeRequest(type, fields);
    const ended = (): PandoError | undefined => this.guest?.error;
    let stream: Duplex;
    try {
      stream = await this.connect();
    } catch (error) {
      throw ended() ?? error;
    }
    return new AgentChannel(stream, request, ended);
  }

  /** A guest that shuts down ends its agent first: whoever has lost that learns that the guest has ended. */
  async #explain(error: unknown): Promise<unknown> {
    const { guest } = this;
    if (guest === undefined || !(error instanceof PandoError) || error.code !== 'AGENT_LOST') {
      return error;
    }
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise((resolve) => {
      timer = setTimeout(resolve, SHUTDOWN_LIMIT);
    });
    await Promise.race([guest.ended, patience]);
    clearTimeout(timer);
    return guest.error ?? error;
  }

  /** Opens, waits for OK, hands both on; closes the channel when that fails. */
  async #started(type: number, fields: Fields): Promise<[AgentChannel, Buffer]> {
    const channel = await this.#open(type, fields);
    try {
      return [channel, await channel.expect(REPLY.OK)];
    } catch (error) {
      channel.close();
      throw error;
    }
  }

  async #call(type: number, fields: Fields): Promise<Buffer> {
    const [channel, answer] = await this.#started(type, fields);
    channel.close();
    return answer;
  }

  /** The protocol's version that the agent speaks. */
  async ping(): Promise<number> {
    const answer = await this.#call(REQUEST.PING, []);
    if (answer.length < 4) throw protocolError('an answer to PING without a version');
    return answer.readUInt32LE(0);
  }

  /**
   * Starts a command.
   * @throws PandoError GUEST_ENOENT and other GUEST_… when it cannot be started
   */
  async exec(request: ExecRequest): Promise<AgentCommand> {
    const { argv, env = {}, cwd, user, stdin, pty } = request;
    const fields: Fields = argv.map((word) => [FIELD.ARGUMENT, word] as const);
    for (const [name, value] of Object.entries(env))
      fields.push([FIELD.ENVIRONMENT, `${name}=${value}`]);
    if (cwd !== undefined) fields.push([FIELD.DIRECTORY, cwd]);
    if (user !== undefined) fields.push([FIELD.USER, user]);
    if (pty !== undefined) fields.push([FIELD.SIZE, u32(pty.rows | (pty.columns << 16))]);
    fields.push([FIELD.FLAGS, flagsOf([pty !== undefined, EXEC.PTY], [stdin, EXEC.STDIN])]);
    try {
      const [channel, pid] = await this.#started(REQUEST.EXEC, fields);
      return new AgentCommand(channel, pid.readUInt32LE(0), (error) => this.#explain(error));
    } catch (error) {
      throw await this.#explain(error);
    }
  }

  /**
   * Sets clock, entropy and names.
   * @returns nanoseconds by which the clock was set later than asked for, since the request took so long; 0 when the guest
   * does not know
   */
  async system(request: SystemRequest): Promise<bigint> {
    const fields: Fields = [];
    if (request.clock !== undefined) fields.push([FIELD.CLOCK, u64(request.clock)]);
    if (request.timestamp !== undefined) fields.push([FIELD.TIMESTAMP, u64(request.timestamp)]);
    if (request.entropy !== undefined) fields.push([FIELD.ENTROPY, request.entropy]);
    if (request.hostname !== undefined) fields.push([FIELD.HOSTNAME, request.hostname]);
    if (request.machineId !== undefined) fields.push([FIELD.MACHINE_ID, request.machineId]);
    const answer = await this.#call(REQUEST.SYSTEM, fields);
    // An agent of an older image says nothing.
    return answer.length < 8 ? 0n : answer.readBigUInt64LE(0);
  }

  /** @param follow symbolic links, as stat(2) and not lstat(2) */
  async stat(path: string, follow = true): Promise<FileEntry> {
    const flags = flagsOf([follow, FILE.FOLLOW]);
    return decodeEntry(
      await this.#call(REQUEST.STAT, [
        [FIELD.PATH, path],
        [FIELD.FLAGS, flags],
      ]),
    );
  }

  /** What is in a folder, and to `depth` levels below it; order is the file system's. */
  async *list(path: string, depth = 1): AsyncGenerator<FileEntry, void, void> {
    const [channel] = await this.#started(REQUEST.LIST, [
      [FIELD.PATH, path],
      [FIELD.DEPTH, u32(depth)],
    ]);
    try {
      for (;;) {
        const { type, payload } = await channel.next();
        if (type === REPLY.END) return;
        if (type !== REPLY.ENTRY) throw protocolError('no entry in a listing');
        yield decodeEntry(payload);
      }
    } finally {
      channel.close();
    }
  }

  /** A file's bytes, from `offset` on, at most `length`. */
  async read(
    path: string,
    range: { readonly offset?: number; readonly length?: number } = {},
  ): Promise<Readable> {
    const fields: Fields = [[FIELD.PATH, path]];
    if (range.offset !== undefined) fields.push([FIELD.OFFSET, u64(range.offset)]);
    if (range.length !== undefined) fields.push([FIELD.LENGTH, u64(range.length)]);
    const [channel] = await this.#started(REQUEST.READ, fields);
    return Readable.from(dataOf(channel), { objectMode: false });
  }

  /** Writes a file from its beginning, or at its end. */
  async write(
    path: string,
    source: Uint8Array | string | AsyncIterable<Uint8Array | string>,
    options: WriteOptions = {},
  ): Promise<void> {
    const { mode = 0o644, append, exclusive, parents } = options;
    const [channel] = await this.#started(REQUEST.WRITE, [
      [FIELD.PATH, path],
      [FIELD.MODE, u32(mode)],
      [
        FIELD.FLAGS,
        flagsOf([append, FILE.APPEND], [exclusive, FILE.EXCLUSIVE], [parents, FILE.PARENTS]),
      ],
    ]);
    try {
      const whole = typeof source === 'string' || source instanceof Uint8Array;
      // An error of the guest, a full disk say, comes in the middle.
      const answer = channel.expect(REPLY.END);
      let failed = false;
      answer.catch(() => {
        failed = true;
      });
      for await (const piece of whole ? [source] : source) {
        const bytes = typeof piece === 'string' ? Buffer.from(piece) : piece;
        for (let at = 0; at < bytes.length && !failed; at += FRAME_PAYLOAD_MAX)
          await channel.send(encodeFrame(INPUT.DATA, bytes.subarray(at, at + FRAME_PAYLOAD_MAX)));
        if (failed) break;
      }
      if (!failed) await channel.send(encodeFrame(INPUT.END));
      await answer;
    } finally {
      channel.close();
    }
  }

  /** @param options recursive: as `mkdir -p` */
  async mkdir(
    path: string,
    { recursive, mode = 0o755 }: { readonly recursive?: boolean; readonly mode?: number } = {},
  ): Promise<void> {
    await this.#call(REQUEST.MKDIR, [
      [FIELD.PATH, path],
      [FIELD.MODE, u32(mode)],
      [FIELD.FLAGS, flagsOf([recursive, FILE.RECURSIVE])],
    ]);
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#call(REQUEST.RENAME, [
      [FIELD.PATH, from],
      [FIELD.TARGET, to],
    ]);
  }

  /** A file, or an empty folder; with `recursive` a folder with all that is in it. */
  async remove(path: string, recursive = false): Promise<void> {
    await this.#call(REQUEST.REMOVE, [
      [FIELD.PATH, path],
      [FIELD.FLAGS, flagsOf([recursive, FILE.RECURSIVE])],
    ]);
  }

  async chmod(path: string, mode: number): Promise<void> {
    await this.#call(REQUEST.CHMOD, [
      [FIELD.PATH, path],
      [FIELD.MODE, u32(mode)],
    ]);
  }

  async symlink(target: string, path: string): Promise<void> {
    await this.#call(REQUEST.SYMLINK, [
      [FIELD.PATH, path],
      [FIELD.TARGET, target],
    ]);
  }

  /** What happens in a folder from now on; ends when the iteration is left, or by `signal`. */
  async watch(
    path: string,
    recursive = false,
    signal?: AbortSignal,
  ): Promise<AsyncGenerator<WatchEvent, void, void>> {
    const [channel] = await this.#started(REQUEST.WATCH, [
      [FIELD.PATH, path],
      [FIELD.FLAGS, flagsOf([recursive, FILE.RECURSIVE])],
    ]);
    return watchEvents(channel, signal);
  }

  /**
   * A TCP connection to a port of the guest's loopback.
   * @throws PandoError GUEST_ECONNREFUSED and the like
   */
  async forward(port: number): Promise<Duplex> {
    const [channel] = await this.#started(REQUEST.CONNECT, [[FIELD.PORT, u32(port)]]);
    return new ForwardedSocket(channel);
  }
}

async function* dataOf(channel: AgentChannel): AsyncGenerator<Buffer, void, void> {
  try {
    for (;;) {
      const { type, payload } = await channel.next();
      if (type === REPLY.END) return;
      if (type !== REPLY.DATA) throw protocolError('no data of a file');
      yield payload;
    }
  } finally {
    channel.close();
  }
}

async function* watchEvents(
  channel: AgentChannel,
  signal: AbortSignal | undefined,
): AsyncGenerator<WatchEvent, void, void> {
  const end = (): void => channel.close();
  signal?.addEventListener('abort', end, { once: true });
  if (signal?.aborted === true) end();
  try {
    for (;;) {
      const payload = await channel.expect(REPLY.EVENT);
      if (payload.length < 8) throw protocolError('an event of less than 8 bytes');
      yield {
        mask: payload.readUInt32LE(0),
        cookie: payload.readUInt32LE(4),
        path: payload.toString('utf8', 8),
      };
    }
  } catch (error) {
    if (signal?.aborted !== true) throw error;
  } finally {
    signal?.removeEventListener('abort', end);
    channel.close();
  }
}

/** The two ways of a forwarded connection. */
class ForwardedSocket extends Duplex {
  #pulling = false;

  constructor(private readonly channel: AgentChannel) {
    super({ allowHalfOpen: true });
  }

  override _read(): void {
    if (this.#pulling) return;
    this.#pulling = true;
    void this.#pull();
  }

  /** One frame: when there is room for more, `push` leads to `_read` again. */
  async #pull(): Promise<void> {
    try {
      const { type, payload } = await this.channel.next();
      if (type !== REPLY.END && type !== REPLY.DATA) throw protocolError('no data of a connection');
      this.#pulling = false;
      this.push(type === REPLY.END ? null : payload);
    } catch (error) {
      this.destroy(error as Error);
    }
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    const pieces: Buffer[] = [];
    for (let at = 0; at < chunk.length; at += FRAME_PAYLOAD_MAX)
      pieces.push(encodeFrame(INPUT.DATA, chunk.subarray(at, at + FRAME_PAYLOAD_MAX)));
    const send = async (): Promise<void> => {
      for (const piece of pieces) await this.channel.send(piece);
    };
    send().then(() => done(), done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.channel.send(encodeFrame(INPUT.END)).then(() => done(), done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.channel.close();
    done(error);
  }
}
