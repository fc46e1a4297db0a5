/** How a server is started, and the limits that it keeps. */
import { totalmem } from 'node:os';

/** The largest bodies, counts and times that a server accepts. */
export interface ServerLimits {
  /** Sandboxes at a time, running and paused. */
  readonly sandboxes: number;
  /** Bytes of guest RAM of all sandboxes. */
  readonly memory: number;
  /** Bytes of a JSON body and of a message of a service. */
  readonly body: number;
  /** Bytes of a file that is uploaded. */
  readonly upload: number;
  /** Processes of a sandbox that a client has started and that still run. */
  readonly processes: number;
  /** Seconds that a sandbox may ask to live. */
  readonly timeout: number;
  /** Milliseconds that the head of a request may take. */
  readonly head: number;
}

export const DEFAULT_LIMITS: ServerLimits = {
  sandboxes: 64,
  memory: Math.floor(totalmem() * 0.75),
  body: 8 * 2 ** 20,
  upload: 4 * 2 ** 30,
  processes: 256,
  timeout: 24 * 60 * 60,
  head: 20_000,
};

export interface ServerOptions {
  /** Address to listen on; 127.0.0.1 when absent. */
  readonly host?: string;
  /** Port to listen on; any free one when absent or 0. */
  readonly port?: number;
  /** Path of a UNIX socket to listen on instead, which its folder keeps for its user alone. */
  readonly socket?: string;
  /** Milliseconds without sandboxes and requests after which `Server.idle` resolves; never when absent. */
  readonly idle?: number;
  /** Keys that clients must have; without, a client may have any, and listens on loopback only. */
  readonly apiKeys?: readonly string[];
  /** Domain of the host names `PORT-ID.DOMAIN`; `localhost` when absent. */
  readonly domain?: string;
  /** Bytes of RAM of a sandbox; 512 MiB when absent. */
  readonly memory?: number;
  /**
   * Whether clients may build templates from images of registries, which are pulled with the credentials of the
   * server's user; without keys when absent.
   */
  readonly pull?: boolean;
  readonly limits?: Partial<ServerLimits>;
  /** Hears of what happens, as one object each. */
  readonly log?: (event: LogEvent) => void;
}

/** A line of the log. */
export interface LogEvent {
  readonly event: string;
  readonly [field: string]: string | number | boolean | undefined;
}

/** Seconds that a sandbox lives when its creator does not say. */
export const DEFAULT_TIMEOUT = 300;

/** What clients name the process of a sandbox's main command by. */
export const MAIN_TAG = 'pando.main';

/** The port that clients name for requests to the sandbox itself. */
export const ENVD_PORT = 49983;

/**
 * A client that goes and one that wants to come back look alike to a server: both close their connection. The
 * environment of a command, or of its sandbox, has this variable with the value 1 when it shall not go on.
 */
export const END_WITH_CLIENT = 'PANDO_END_WITH_CLIENT';
