/**
 * The user's own server: the verbs about sandboxes talk to it over a UNIX socket. It is started when it is
 * first needed, outlives the terminal, and ends when it has had no sandbox for a while.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, lstatSync, mkdirSync, openSync } from 'node:fs';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { json as jsonOf, text as textOf } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { PandoError, reasonOf } from '../../error.js';
import { storeDirectory } from '../../image/directories.js';
import { answers } from '../../server/listen.js';
import type { MainAnswer } from '../../server/main-command.js';
import { ENVD_PORT } from '../../server/options.js';

/** Seconds that a sandbox of the command line may live: setTimeout's longest, 24 days. */
export const LONGEST_LIFE = 2_147_000;
/** Seconds without sandboxes after which it ends, unless PANDO_SERVER_IDLE says so. */
const IDLE_SECONDS = '30';
const START_LIMIT = 60_000;
const ASK_EVERY = 20;

/** The folder of the socket, which nobody else may enter. @throws PandoError SOCKET_FOLDER */
function socketFolder(): string {
  const runtime = process.env.XDG_RUNTIME_DIR;
  const uid = process.getuid?.() ?? 0;
  const folder = runtime ? join(runtime, 'pando') : join(tmpdir(), `pando-${uid}`);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const { uid: owner, mode } = lstatSync(folder);
  if (owner === uid && (mode & 0o170077) === 0o040000) return folder;
  throw new PandoError('SOCKET_FOLDER', `${folder} is no folder of yours alone`, {
    remedy: 'set XDG_RUNTIME_DIR to a folder that only you can enter',
  });
}

/** A server for each store: its images are the store's. */
function socketPath(): string {
  const store = createHash('sha256').update(storeDirectory()).digest('hex').slice(0, 12);
  return join(socketFolder(), `${store}.sock`);
}

/** Where the server of a socket writes its log. */
function logOf(path: string): string {
  return path.replace(/sock$/, 'log');
}

/** Resolves when there is room for more of a body, or the answer comes before its end. */
async function roomOrAnswer(sent: ClientRequest): Promise<void> {
  const events = ['drain', 'response', 'close'];
  await new Promise<void>((resolve) => {
    const done = (): void => {
      for (const event of events) sent.off(event, done);
      resolve();
    };
    for (const event of events) sent.on(event, done);
  });
}

/** Starts the server if it does not run. @throws PandoError SERVER_NOT_STARTED */
async function ensureServer(path: string): Promise<void> {
  if (await answers(path)) return;
  const log = openSync(logOf(path), 'a', 0o600);
  const limits = ['--max-timeout', String(LONGEST_LIFE), '--max-sandboxes', '1000'];
  const words = [
    'serve',
    '--socket',
    path,
    '--idle',
    process.env.PANDO_SERVER_IDLE ?? IDLE_SECONDS,
    ...limits,
  ];
  const child = spawn(process.execPath, [process.argv[1] ?? '', ...words], {
    detached: true,
    stdio: ['ignore', log, log],
    cwd: '/',
  });
  closeSync(log);
  child.unref();
  const began = Date.now();
  while (!(await answers(path))) {
    // Another that was started at the same time may have the socket: then this one has ended.
    if (Date.now() - began > START_LIMIT) {
      throw new PandoError('SERVER_NOT_STARTED', `nothing answers on ${path}`, {
        remedy: `see ${logOf(path)}`,
      });
    }
    await sleep(ASK_EVERY);
  }
}

/** Sandboxes as the server lists them. */
export interface ListedSandbox {
  readonly sandboxID: string;
  readonly templateID: string;
  readonly state: string;
  readonly startedAt: string;
  readonly endAt: string;
  readonly memoryMB: number;
  readonly metadata: Readonly<Record<string, string>>;
  /** Of a sandbox that has one. */
  readonly main?: MainAnswer;
  /** In the details alone. */
  readonly envdAccessToken?: string;
}

export class Daemon {
  private constructor(
    readonly socket: string,
    private readonly runs: boolean,
  ) {}

  /** @throws PandoError SOCKET_FOLDER */
  static async reach(): Promise<Daemon> {
    const path = socketPath();
    return new Daemon(path, await answers(path));
  }

  /** Starts it when it does not run. @throws PandoError SERVER_NOT_STARTED, SOCKET_FOLDER */
  static async start(): Promise<Daemon> {
    const path = socketPath();
    await ensureServer(path);
    return new Daemon(path, true);
  }

  /** One request. @throws PandoError SERVER_LOST */
  async send(
    method: string,
    path: string,
    headers: Readonly<Record<string, string>>,
    body?: AsyncIterable<Uint8Array> | string,
  ): Promise<IncomingMessage> {
    const { socket: socketPath } = this;
    const all = { host: 'localhost', 'x-api-key': 'local', ...headers };
    const sent = request({ socketPath, method, path, headers: all });
    const answer = once(sent, 'response') as Promise<[IncomingMessage]>;
    let answered = false;
    const over = (): void => {
      answered = true;
    };
    answer.then(over, over);
    try {
      if (typeof body === 'string' || body === undefined) sent.end(body);
      else {
        for await (const piece of body) {
          if (answered) break;
          if (!sent.write(piece)) await roomOrAnswer(sent);
        }
        sent.end();
      }
      return (await answer)[0];
    } catch (error) {
      sent.destroy();
      throw new PandoError('SERVER_LOST', `the server gave no answer: ${reasonOf(error)}`, {
        remedy: `see ${logOf(this.socket)}`,
        cause: error,
      });
    }
  }

  /** A request of the control plane. @throws PandoError SERVER_REFUSED with what the server says */
  async call<Body>(method: string, path: string, fields?: object): Promise<Body> {
    const body = fields === undefined ? undefined : JSON.stringify(fields);
    const response = await this.send(method, path, {}, body);
    const text = await textOf(response);
    const { statusCode = 0 } = response;
    const value = text === '' ? undefined : (JSON.parse(text) as unknown);
    if (statusCode < 300) return value as Body;
    const { message = text } = (value ?? {}) as { message?: string };
    throw new PandoError('SERVER_REFUSED', message);
  }

  /** Those that have ended with their main command, too; none where no server runs. */
  async list(): Promise<ListedSandbox[]> {
    if (!this.runs) return [];
    const all: ListedSandbox[] = [];
    for (let token: string | undefined = ''; token !== undefined; ) {
      const query = token === '' ? '' : `&nextToken=${token}`;
      const response = await this.send(
        'GET',
        `/v2/sandboxes?order=asc&state=running,paused,exited${query}`,
        {},
      );
      all.push(...((await jsonOf(response)) as ListedSandbox[]));
      token = response.headers['x-next-token'] as string | undefined;
    }
    return all;
  }

  /** The sandbox of a name, an id, or the beginning of one id. @throws PandoError SANDBOX_NOT_FOUND */
  async find(word: string): Promise<ListedSandbox> {
    const all = await this.list();
    const exact = all.find(
      ({ sandboxID, metadata }) => sandboxID === word || metadata.name === word,
    );
    const begun = all.filter(({ sandboxID }) => sandboxID.startsWith(word));
    const found = exact ?? (begun.length === 1 ? begun[0] : undefined);
    if (found !== undefined) return found;
    const what = begun.length > 1 ? `${begun.length} sandboxes begin with` : 'there is no sandbox';
    throw new PandoError('SANDBOX_NOT_FOUND', `${what} ${word}`, { remedy: 'see `pando ps`' });
  }

  /** What requests to a sandbox itself have. @throws PandoError SANDBOX_EXITED */
  async access(sandbox: ListedSandbox): Promise<Readonly<Record<string, string>>> {
    const { sandboxID, main, metadata } = sandbox;
    if (main?.status !== undefined) {
      const name = metadata.name ?? sandboxID;
      throw new PandoError(
        'SANDBOX_EXITED',
        `sandbox ${name} has ended with status ${main.status}`,
        {
          remedy: `pando logs ${name} shows what it printed, pando rm ${name} forgets it`,
        },
      );
    }
    const detail = await this.call<ListedSandbox>('GET', `/sandboxes/${sandboxID}`);
    return {
      'e2b-sandbox-id': sandboxID,
      'e2b-sandbox-port': String(ENVD_PORT),
      'x-access-token': detail.envdAccessToken ?? '',
    };
  }
}
