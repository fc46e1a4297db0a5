/**
 * The templates of E2B's control plane (its OpenAPI document, tag "templates"): builds, names, tags, archives of
 * files. A build's archives come by a link without a key, so `receive` is called for them by the server itself.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { ENVD_VERSION } from '../envd/envd.js';
import { asks, type Body, integerField, textField, wordsField } from '../fields.js';
import { randomId } from '../hosted-sandbox.js';
import { header, RequestError, sendJson } from '../http.js';
import type { ServerLimits } from '../options.js';
import { type Call, type Route, route } from '../routes.js';
import type { SandboxTable } from '../sandbox-table.js';
import { servedFolders } from '../served-folders.js';
import type { BuildStep } from './build-steps.js';
import { Builder, type BuilderOptions } from './builder.js';
import type { TemplateBuild } from './template-build.js';
import {
  CLIENT_TEMPLATE,
  sourceOf,
  sourceOfImage,
  type TemplateSource,
} from './template-source.js';
import {
  type BuildRecord,
  parseTemplateName,
  type TemplateRecord,
  type TemplateStore,
} from './template-store.js';
import { Uploads } from './uploads.js';

/** Path of the links for archives, before the secret. */
export const UPLOAD_PATH = '/template-files/';
const STEPS_MAX = 1000;
const MEGABYTE = 2 ** 20;
const MEMORY_LEAST = 64;

/** Where a client reaches this server: it has come from there. */
function originOf(request: IncomingMessage): string {
  const secure = header(request, 'x-forwarded-proto') === 'https';
  return `${secure ? 'https' : 'http'}://${header(request, 'host') ?? 'localhost'}`;
}

function buildAnswer({ buildID, createdAt, finishedAt, memory }: BuildRecord): object {
  const memoryMB = Math.floor(memory / MEGABYTE);
  return {
    buildID,
    status: 'ready',
    createdAt,
    updatedAt: finishedAt,
    finishedAt,
    cpuCount: 1,
    memoryMB,
    diskSizeMB: memoryMB,
    envdVersion: ENVD_VERSION,
  };
}

/** What lists and single answers have in common; uses of templates are not counted. */
function templateAnswer({ templateID, name, createdAt, updatedAt }: TemplateRecord): object {
  const names = [name];
  const uses = { lastSpawnedAt: null, spawnCount: 0 };
  return { templateID, public: false, names, aliases: names, createdAt, updatedAt, ...uses };
}

function listAnswer(template: TemplateRecord): object {
  const last = template.builds.at(-1);
  return {
    ...(last !== undefined && buildAnswer(last)),
    ...templateAnswer(template),
    buildStatus: 'ready',
    buildCount: template.builds.length,
    createdBy: null,
  };
}

function stepsOf(body: Body): BuildStep[] {
  const { steps = [] } = body;
  if (!Array.isArray(steps) || steps.length > STEPS_MAX) {
    throw new RequestError(400, `steps is no list of at most ${STEPS_MAX}`);
  }
  return steps.map((step: unknown) => {
    if (typeof step !== 'object' || step === null) throw new RequestError(400, 'a step is none');
    const fields = step as Body;
    const type = textField(fields, 'type') ?? '';
    return { type, args: wordsField(fields, 'args'), filesHash: textField(fields, 'filesHash') };
  });
}

export interface TemplateOptions extends BuilderOptions {
  readonly limits: ServerLimits;
  /** Whether builds may begin with images of registries. */
  readonly pull: boolean;
}

export class TemplateRoutes {
  readonly routes: readonly Route[];
  readonly #uploads: Uploads;
  readonly #builder: Builder;

  constructor(
    readonly store: TemplateStore,
    table: SandboxTable,
    private readonly options: TemplateOptions,
  ) {
    this.#uploads = new Uploads(options.limits.upload, servedFolders().temporary);
    this.#builder = new Builder(table, store, this.#uploads, options);
    this.routes = [
      route('POST', '/v3/templates', (call) => this.#request(call)),
      route('GET', '(?:/v2)?/templates', async ({ owner, response }) =>
        sendJson(response, 200, (await store.list(owner)).map(listAnswer)),
      ),
      route('GET', '(?:/v2)?/templates/{}', async ({ owner, id, response }) => {
        const template = await store.get(owner, id);
        const builds = template.builds.map(buildAnswer);
        sendJson(response, 200, { ...templateAnswer(template), builds });
      }),
      route('GET', '/templates/aliases/{}', (call) => this.#alias(call)),
      route('GET', '/templates/{}/files/{}', (call) => this.#link(call)),
      route('POST', '/v2/templates/{}/builds/{}', (call) => this.#start(call)),
      route('GET', '/templates/{}/builds/{}/status', (call) => this.#status(call)),
      route('GET', '/templates/{}/builds/{}/logs', (call) => {
        sendJson(call.response, 200, { logs: this.#build(call).lines(0) });
      }),
      route('GET', '/templates/{}/tags', async ({ owner, id, response }) =>
        sendJson(response, 200, (await store.get(owner, id)).tags),
      ),
      route('POST', '/templates/tags', async ({ owner, body, response }) => {
        const tags = wordsField(body, 'tags');
        const target = textField(body, 'target') ?? '';
        for (const tag of tags) parseTemplateName(`name:${tag}`);
        sendJson(response, 201, { buildID: await store.assign(owner, target, tags), tags });
      }),
      route('DELETE', '/templates/tags', async ({ owner, body, response }) => {
        await store.unassign(owner, textField(body, 'name') ?? '', wordsField(body, 'tags'));
        response.writeHead(204).end();
      }),
    ];
  }

  /** Receives an archive. @throws RequestError 404, 405, 409, 413 */
  async receive(token: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method !== 'PUT') throw new RequestError(405, 'archives are put');
    await this.#uploads.receive(token, request);
    response.writeHead(200, { 'content-length': 0 }).end();
  }

  /** What a client's template is. @throws RequestError 404 */
  sourceOf(owner: string, template: string): Promise<TemplateSource> {
    return sourceOf(this.store, owner, template, this.options.pull);
  }

  close(): Promise<void> {
    return this.#uploads.close();
  }

  async #request({ owner, body, response }: Call): Promise<void> {
    const given = textField(body, 'name') ?? textField(body, 'alias') ?? '';
    const { name, tag } = parseTemplateName(given);
    if (name === CLIENT_TEMPLATE) throw new RequestError(400, `${name} is the server's own`);
    const more = wordsField(body, 'tags');
    for (const word of more) parseTemplateName(`${name}:${word}`);
    // A name without a tag has the default one only where no other is given.
    const tags = [...new Set(given.includes(':') || more.length === 0 ? [tag, ...more] : more)];
    const most = Math.floor(this.options.limits.memory / MEGABYTE);
    const megabytes = integerField(body, 'memoryMB', MEMORY_LEAST, most);
    const known = (await this.store.find(owner, name)) ?? this.#builder.expected(owner, name);
    const templateID = known?.templateID ?? randomId();
    const memory = megabytes === undefined ? undefined : megabytes * MEGABYTE;
    const build = await this.#builder.expect({ owner, templateID, name, tags, memory });
    const names = [name];
    const answer = { templateID, buildID: build.id, names, aliases: names, tags, public: false };
    sendJson(response, 202, answer);
  }

  async #alias({ owner, id, response }: Call): Promise<void> {
    const { name } = parseTemplateName(id);
    const tagged = id !== name && (await this.store.build(owner, id)) === undefined;
    const { templateID } = await this.store.get(owner, name);
    if (tagged) throw new RequestError(404, `there is no template ${id}`);
    sendJson(response, 200, { templateID, public: false });
  }

  #link({ owner, id, part, request, response }: Call): void {
    if (this.#builder.expected(owner, id) === undefined) {
      throw new RequestError(404, `there is no build of the template ${id}`);
    }
    const { token, present } = this.#uploads.link(id, part);
    sendJson(response, 201, { present, url: `${originOf(request)}${UPLOAD_PATH}${token}` });
  }

  #build({ owner, id, part }: Call): TemplateBuild {
    const build = this.#builder.find(owner, id, part);
    if (build !== undefined) return build;
    throw new RequestError(404, `template ${id} has no build ${part}`);
  }

  async #start(call: Call): Promise<void> {
    const { body, response } = call;
    const build = this.#build(call);
    const plan = {
      source: await this.#source(call.owner, body),
      steps: stepsOf(body),
      startCommand: textField(body, 'startCmd') ?? '',
      readyCommand: textField(body, 'readyCmd') ?? '',
    };
    this.#builder.begin(build, plan);
    response.writeHead(202, { 'content-length': 0 }).end();
  }

  #source(owner: string, body: Body): Promise<TemplateSource> {
    const image = textField(body, 'fromImage') ?? '';
    const template = textField(body, 'fromTemplate') ?? '';
    if ((image === '') === (template === '')) {
      throw new RequestError(400, 'either fromImage or fromTemplate is needed');
    }
    if (asks(body, 'fromImageRegistry')) {
      throw new RequestError(400, 'fromImageRegistry: the credentials are those of the server');
    }
    const { pull } = this.options;
    return image === '' ? this.sourceOf(owner, template) : sourceOfImage(image, pull);
  }

  async #status(call: Call): Promise<void> {
    const { owner, id, part, query, response } = call;
    const offset = Number(query.get('logsOffset') ?? 0);
    if (!Number.isSafeInteger(offset) || offset < 0) {
      throw new RequestError(400, 'logsOffset is no count');
    }
    const template = await this.store.find(owner, id);
    const known = this.#builder.find(owner, id, part);
    const stored = template?.builds.some(({ buildID }) => buildID === part);
    if (known === undefined && stored === true) {
      // Of a server before this one, which took its log along.
      const answer = { templateID: id, buildID: part, status: 'ready', logs: [], logEntries: [] };
      sendJson(response, 200, answer);
    } else sendJson(response, 200, this.#build(call).answer(offset));
  }
}
