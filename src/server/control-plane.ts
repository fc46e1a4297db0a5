/** E2B's control plane: sandboxes are made, found, paused, copied and ended by it. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { PandoError } from '../error.js';
import { accessAnswer, detailAnswer, listAnswer } from './answers.js';
import { guestFigures } from './envd/guest-figures.js';
import { asks, type Body, flagField, integerField, textField, textsField } from './fields.js';
import type { HostedOptions, HostedSandbox, SandboxRecord } from './hosted-sandbox.js';
import { answerOf, RequestError, readJson, sendJson } from './http.js';
import { listed, pageOf } from './listing.js';
import { entriesAnswer, lastSeen, logsAnswer, sendOutput } from './logs.js';
import { mainField } from './main-command.js';
import { DEFAULT_TIMEOUT, type ServerLimits } from './options.js';
import { type Call, type Route, route, routeOf } from './routes.js';
import type { SandboxTable } from './sandbox-table.js';
import { listSnapshots, removeSnapshot, takeSnapshot } from './snapshots.js';
import type { TemplateRoutes } from './templates/template-routes.js';
import { CLIENT_TEMPLATE } from './templates/template-source.js';

const FORKS_MAX = 100;
/** What clients can ask for, and sandboxes here do not have: asked for, it is refused. */
const UNKNOWN = ['volumeMounts', 'iam', 'mcp', 'network', 'allow_internet_access'];

export class ControlPlane {
  readonly #routes: readonly Route[];

  /** @param domain of the host names of sandboxes, with the server's port */
  constructor(
    private readonly table: SandboxTable,
    private readonly limits: ServerLimits,
    private readonly memory: number,
    private readonly domain: () => string,
    private readonly templates: TemplateRoutes,
  ) {
    const sandbox = (
      method: string,
      path: string,
      handler: (h: HostedSandbox, c: Call) => unknown,
    ): Route =>
      route(method, `(?:/v2)?/sandboxes/{}${path}`, async (call) => {
        try {
          await handler(this.table.get(call.id, call.owner), call);
        } catch (error) {
          if (!(error instanceof PandoError) || error.code !== 'SANDBOX_ENDED') throw error;
          throw new RequestError(404, `sandbox ${call.id} does not exist: ${error.message}`);
        }
      });
    const record = (method: string, path: string, handler: (r: SandboxRecord, c: Call) => void) =>
      route(method, `(?:/v2)?/sandboxes/{}${path}`, (call) =>
        handler(this.table.record(call.id, call.owner), call),
      );
    this.#routes = [
      ...templates.routes,
      route('POST', '(?:/v2)?/sandboxes', (call) => this.#create(call)),
      route('GET', '(?:/v2)?/sandboxes', (call) => this.#list(call)),
      record('GET', '', (asked, { response }) =>
        sendJson(response, 200, detailAnswer(asked, this.domain())),
      ),
      record('DELETE', '', (asked, { response }) =>
        this.table.kill(asked).then(() => done(response)),
      ),
      record('GET', '/output', async ({ main }, { query, response }) => {
        if (main === undefined) throw new RequestError(404, 'the sandbox has no main command');
        await sendOutput(main.log, query, response);
      }),
      sandbox('POST', '/pause', (hosted, { response }) =>
        hosted.pause().then(() => done(response)),
      ),
      sandbox('POST', '/connect', (hosted, call) => this.#connect(hosted, call)),
      sandbox('POST', '/resume', (hosted, call) => this.#resume(hosted, call)),
      sandbox('POST', '/timeout', (hosted, { body, response }) => {
        hosted.setTimeout(integerField(body, 'timeout', 0, this.limits.timeout) ?? 0);
        done(response);
      }),
      sandbox('POST', '/refreshes', (hosted, { body, response }) => {
        hosted.extend(integerField(body, 'duration', 0, this.limits.timeout) ?? DEFAULT_TIMEOUT);
        done(response);
      }),
      sandbox('POST', '/fork', (hosted, call) => this.#fork(hosted, call)),
      sandbox('POST', '/snapshots', async (hosted, { body, response }) =>
        sendJson(response, 201, await takeSnapshot(hosted, textField(body, 'name'))),
      ),
      sandbox('POST', '/ports', async (hosted, { body, response }) => {
        const port = integerField(body, 'port', 1, 0xffff);
        if (port === undefined) throw new RequestError(400, 'a request without a port');
        sendJson(response, 201, { url: await hosted.sandbox.url(port) });
      }),
      route('GET', '/sandboxes/{}/logs', ({ owner, id, query, response }) => {
        const logged = this.table.record(id, owner);
        sendJson(response, 200, logsAnswer(logged.logs(), query));
      }),
      route('GET', '/v2/sandboxes/{}/logs', ({ owner, id, query, response }) => {
        const logged = this.table.record(id, owner);
        sendJson(response, 200, entriesAnswer(logged.logs(lastSeen(query)), query));
      }),
      sandbox('GET', '/metrics', (hosted, { response }) => this.#metrics(hosted, response)),
      route('GET', '/snapshots', (call) => this.#snapshots(call)),
      route('DELETE', '/templates/{}', async ({ owner, id, response }) => {
        if (!(await templates.store.remove(owner, id))) await removeSnapshot(owner, id);
        done(response);
      }),
    ];
  }

  /** Answers a request of an owner. @throws RequestError, PandoError */
  async answer(
    owner: string,
    url: URL,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const { handler, id, part } = routeOf(this.#routes, request.method, url.pathname);
    const body = await readJson(request, this.limits.body);
    await handler({ owner, query: url.searchParams, body, request, response, id, part });
  }

  #timeout(body: Body): number {
    return integerField(body, 'timeout', 0, this.limits.timeout) ?? DEFAULT_TIMEOUT;
  }

  async #create({ owner, body, response }: Call): Promise<void> {
    const refused = UNKNOWN.find((name) => asks(body, name));
    if (refused !== undefined) {
      throw new RequestError(400, `${refused}: sandboxes of this server have no such thing`);
    }
    const template = textField(body, 'templateID') ?? CLIENT_TEMPLATE;
    const timeout = this.#timeout(body);
    const autoResume = body.autoResume ?? {};
    const main = mainField(body);
    const { source, memory, defaults } = await this.templates.sourceOf(owner, template);
    const options: HostedOptions = {
      owner,
      template,
      memory: memory ?? this.memory,
      metadata: textsField(body, 'metadata'),
      ...defaults,
      ...placeOf(body),
      // In a map the names of JavaScript's own properties are plain names.
      env: Object.fromEntries([...Object.entries(defaults.env), ...textsField(body, 'envVars')]),
      onTimeout: flagField(body, 'autoPause') === true ? 'pause' : 'kill',
      autoResume:
        typeof autoResume === 'object' && flagField(autoResume as Body, 'enabled') === true,
    };
    const hosted = await this.table.create(source, options, timeout);
    if (main !== undefined) await this.table.run(hosted, main);
    sendJson(response, 201, accessAnswer(hosted, this.domain()));
  }

  #list({ owner, query, response }: Call): void {
    const own = this.table.records().filter(({ options }) => options.owner === owner);
    const { items, next } = listed(own, query);
    sendJson(response, 200, items.map(listAnswer), nextHeader(next));
  }

  async #connect(hosted: HostedSandbox, { body, response }: Call): Promise<void> {
    const status = hosted.state === 'paused' ? 201 : 200;
    await hosted.resume(this.#timeout(body));
    sendJson(response, status, accessAnswer(hosted, this.domain()));
  }

  async #resume(hosted: HostedSandbox, { body, response }: Call): Promise<void> {
    if (hosted.state === 'running') throw new RequestError(409, `sandbox ${hosted.id} is running`);
    await hosted.resume(this.#timeout(body));
    sendJson(response, 201, accessAnswer(hosted, this.domain()));
  }

  async #fork(hosted: HostedSandbox, { body, response }: Call): Promise<void> {
    const count = integerField(body, 'count', 1, FORKS_MAX) ?? 1;
    const metadata = body.metadata === undefined ? undefined : textsField(body, 'metadata');
    const results = await this.table.fork(hosted, count, this.#timeout(body), metadata);
    const answers = results.map((result) => {
      if (result.status === 'fulfilled') {
        return { sandbox: accessAnswer(result.value, this.domain()) };
      }
      const { status, message } = answerOf(result.reason);
      return { error: { code: status, message } };
    });
    sendJson(response, 201, answers);
  }

  async #metrics(hosted: HostedSandbox, response: ServerResponse): Promise<void> {
    if (hosted.state === 'paused') {
      sendJson(response, 200, []);
      return;
    }
    const figures = await guestFigures(hosted.sandbox);
    const point = {
      timestamp: new Date(figures.ts * 1000).toISOString(),
      timestampUnix: figures.ts,
      cpuCount: figures.cpu_count,
      cpuUsedPct: figures.cpu_used_pct,
      memTotal: figures.mem_total,
      memUsed: figures.mem_used,
      memCache: figures.mem_cache,
      diskTotal: figures.disk_total,
      diskUsed: figures.disk_used,
    };
    sendJson(response, 200, [point]);
  }

  async #snapshots({ owner, query, response }: Call): Promise<void> {
    const all = await listSnapshots(owner, query);
    const { items, next } = pageOf(all, ({ snapshotID }) => snapshotID, query);
    sendJson(response, 200, items, nextHeader(next));
  }
}

/** Whose a sandbox's commands are, and where they run, when its creator says: beyond E2B's. @throws RequestError 400 */
function placeOf(body: Body): Pick<HostedOptions, 'user' | 'cwd'> {
  const user = textField(body, 'user');
  const cwd = textField(body, 'cwd');
  if (cwd !== undefined && !cwd.startsWith('/')) {
    throw new RequestError(400, `cwd ${cwd} is no absolute path`);
  }
  return { ...(user !== undefined && { user }), ...(cwd !== undefined && { cwd }) };
}

function done(response: ServerResponse): void {
  response.writeHead(204).end();
}

function nextHeader(next: string | undefined): Record<string, string> {
  return next === undefined ? {} : { 'x-next-token': next };
}
