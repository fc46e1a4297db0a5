/**
 * The server: one port for E2B's control plane, for each sandbox's own interface, and for the ports of
 * sandboxes. A request's host name or headers say which it is for.
 */
import { createServer, type Server as HttpServer, type IncomingMessage } from 'node:http';
import { BlockList, isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { PandoError, traceOf } from '../error.js';
import { coded } from '../system-error.js';
import { ControlPlane } from './control-plane.js';
import { Envd } from './envd/envd.js';
import type { HostedSandbox } from './hosted-sandbox.js';
import { answerOf, header, RequestError, sendError, sendJson } from './http.js';
import { ApiKeys } from './keys.js';
import { removeLeftovers } from './leftovers.js';
import { listen } from './listen.js';
import { metricsText } from './metrics.js';
import {
  DEFAULT_LIMITS,
  DEFAULT_TIMEOUT,
  ENVD_PORT,
  type LogEvent,
  type ServerOptions,
} from './options.js';
import { type Destination, destinationOf, forwardRequest, forwardUpgrade } from './ports.js';
import { SandboxTable } from './sandbox-table.js';
import { TemplateRoutes, UPLOAD_PATH } from './templates/template-routes.js';
import { TemplateStore } from './templates/template-store.js';

const DEFAULT_MEMORY = 512 * 2 ** 20;
/** How long a request may take to arrive, in milliseconds. */
const REQUEST_LIMIT = 60 * 60_000;
/**
 * How long a connection may wait for its next request, in milliseconds. A process that has had no
 * processor for as long resets the request that has come meanwhile: Node.js's 5 s are reached on a busy machine.
 */
const KEEP_ALIVE = 75_000;
const CONNECTIONS = 4096;

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');

function isLoopback(host: string): boolean {
  if (host === 'localhost') return true;
  const family = isIP(host);
  return family !== 0 && LOOPBACK.check(host, family === 6 ? 'ipv6' : 'ipv4');
}

/** @throws RequestError 400 */
function urlOf(request: IncomingMessage): URL {
  try {
    return new URL(`http://localhost${request.url ?? '/'}`);
  } catch {
    throw new RequestError(400, 'the path of the request is none');
  }
}

export class Server implements AsyncDisposable {
  readonly #http: HttpServer;
  readonly #host: string;
  readonly #domain: string;
  readonly #keys: ApiKeys;
  readonly #table: SandboxTable;
  readonly #envd: Envd;
  readonly #control: ControlPlane;
  readonly #templates: TemplateRoutes;
  readonly #log: (event: LogEvent) => void;
  /** Connections that have changed their protocol: the HTTP server does not know them any more. */
  readonly #upgraded = new Set<Duplex>();
  #requests = 0;
  /** Requests that are being answered, and when the last one was. */
  #open = 0;
  #lastRequest = Date.now();
  /** Resolves when nobody has wanted anything for `ServerOptions.idle`. */
  readonly idle: Promise<void>;
  #idleTimer: NodeJS.Timeout | undefined;

  private constructor(options: ServerOptions) {
    const { host = '127.0.0.1', apiKeys = [], domain = 'localhost' } = options;
    const limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#host = host;
    this.#domain = domain.toLowerCase();
    this.#log = options.log ?? (() => undefined);
    this.#keys = new ApiKeys(apiKeys);
    this.#table = new SandboxTable(limits, this.#log);
    this.#envd = new Envd(limits);
    const memory = options.memory ?? DEFAULT_MEMORY;
    const { pull = apiKeys.length === 0 } = options;
    const building = { memory, limits, pull, log: this.#log };
    this.#templates = new TemplateRoutes(new TemplateStore(), this.#table, building);
    const at = (): string => `${this.#domain}:${this.port}`;
    this.#control = new ControlPlane(this.#table, limits, memory, at, this.#templates);
    this.#http = createServer({
      keepAliveTimeout: KEEP_ALIVE,
      headersTimeout: limits.head,
      requestTimeout: REQUEST_LIMIT,
      connectionsCheckingInterval: limits.head / 4,
    });
    this.#http.maxConnections = CONNECTIONS;
    this.idle = new Promise((resolve) => {
      const { idle } = options;
      if (idle === undefined) return;
      this.#idleTimer = setInterval(() => {
        const wanted = this.#open > 0 || !this.#table.isEmpty;
        if (!wanted && Date.now() - this.#lastRequest >= idle) resolve();
      }, idle / 4);
    });
    this.#http.on('request', (request, response) => {
      this.#requests += 1;
      this.#open += 1;
      response.once('close', () => {
        this.#open -= 1;
        this.#lastRequest = Date.now();
      });
      this.#answer(request, response).catch((error: unknown) => {
        // Closed from the other side, and not by an answer: whatever failed, failed of that.
        if (response.destroyed && response.errored === null) {
          this.#log({ event: 'client-gone', method: request.method });
          return;
        }
        this.#report(request, error);
        sendError(response, error);
      });
    });
    this.#http.on('upgrade', (request, socket, head) => {
      this.#requests += 1;
      socket.on('error', () => undefined);
      this.#upgrade(request, socket, head).catch((error: unknown) => {
        this.#report(request, error);
        const { status } = answerOf(error);
        socket.end(`HTTP/1.1 ${status} \r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
      });
    });
  }

  /**
   * Starts a server.
   * @throws PandoError SERVER_NEEDS_KEY, and the system's when it cannot listen
   */
  static async listen(options: ServerOptions = {}): Promise<Server> {
    const { host = '127.0.0.1', port = 0, apiKeys = [], socket } = options;
    if (!isLoopback(host) && apiKeys.length === 0) {
      throw new PandoError(
        'SERVER_NEEDS_KEY',
        `${host} can be reached from other machines, and no API key is set`,
        { remedy: 'give --api-key, or listen on 127.0.0.1' },
      );
    }
    const server = new Server(options);
    try {
      await listen(server.#http, socket === undefined ? { port, host } : { path: socket });
    } catch (error) {
      clearInterval(server.#idleTimer);
      throw coded(error);
    }
    await removeLeftovers(server.#templates.store).catch((error: unknown) => {
      server.#log({ event: 'leftovers-stay', error: traceOf(error) });
    });
    return server;
  }

  /** 0 on a UNIX socket. */
  get port(): number {
    const address = this.#http.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  /** Where clients reach it. */
  get url(): string {
    return `http://${this.#host.includes(':') ? `[${this.#host}]` : this.#host}:${this.port}`;
  }

  #report(request: IncomingMessage, error: unknown): void {
    const { status, message } = answerOf(error);
    const expected = error instanceof RequestError || error instanceof PandoError;
    const what = expected ? message : traceOf(error);
    this.#log({ event: 'request-failed', method: request.method, status, error: what });
  }

  /** A page of a browser whose name was made to lead here has a name that nobody gave this server. */
  #checkHost(request: IncomingMessage): void {
    const host = (header(request, 'host') ?? '').replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
    const known = isIP(host) !== 0 || ['localhost', this.#host, this.#domain].includes(host);
    if (!known) throw new RequestError(421, `${host} is no name of this server`);
  }

  async #answer(request: IncomingMessage, response: Parameters<typeof sendJson>[0]): Promise<void> {
    const url = urlOf(request);
    const destination = destinationOf(request, this.#domain);
    if (destination !== undefined) {
      const hosted = await this.#reach(destination);
      if (destination.port === ENVD_PORT) {
        await this.#envd.answer(hosted, url, request, response);
      } else await forwardRequest(hosted, destination.port, request, response);
      return;
    }
    this.#checkHost(request);
    if (url.pathname === '/health') {
      sendJson(response, 200, { status: 'ok', sandboxes: this.#table.size });
    } else if (url.pathname === '/files') {
      // A signed URL says by its signature which sandbox it is of.
      const hosted = this.#table.list().find((each) => this.#envd.signedFor(each, url, request));
      if (hosted === undefined) throw new RequestError(401, 'the signature is not valid');
      await this.#envd.answer(hosted, url, request, response);
    } else if (url.pathname.startsWith(UPLOAD_PATH)) {
      const token = url.pathname.slice(UPLOAD_PATH.length);
      await this.#templates.receive(token, request, response);
    } else {
      const owner = this.#keys.ownerOf(request);
      if (url.pathname === '/metrics') {
        response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' });
        response.end(metricsText(this.#table, this.#requests));
      } else await this.#control.answer(owner, url, request, response);
    }
  }

  /** The sandbox of a request that goes to it. @throws RequestError 502, as E2B's proxy */
  async #reach({ id }: Destination): Promise<HostedSandbox> {
    const hosted = this.#table.find(id);
    if (hosted === undefined) throw new RequestError(502, `there is no sandbox ${id}`);
    if (hosted.state === 'running') return hosted;
    if (!hosted.options.autoResume) throw new RequestError(502, `sandbox ${id} is paused`);
    await hosted.resume(DEFAULT_TIMEOUT);
    return hosted;
  }

  async #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const destination = destinationOf(request, this.#domain);
    if (destination === undefined || destination.port === ENVD_PORT) {
      throw new RequestError(400, 'there is nothing here to change the protocol for');
    }
    const hosted = await this.#reach(destination);
    this.#upgraded.add(socket);
    socket.once('close', () => this.#upgraded.delete(socket));
    await forwardUpgrade(hosted, destination.port, request, socket, head);
  }

  /** Takes no more requests, ends all sandboxes, then the connections. */
  async close(): Promise<void> {
    clearInterval(this.#idleTimer);
    const closed = new Promise((resolve) => this.#http.close(resolve));
    this.#http.closeIdleConnections();
    await this.#table.close();
    await this.#templates.close();
    this.#http.closeAllConnections();
    for (const socket of this.#upgraded) socket.destroy();
    await closed;
    this.#log({ event: 'stopped' });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
