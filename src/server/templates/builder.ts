/**
 * Builds of templates. Each runs in a sandbox of its own, which counts towards the server's limits but is in no
 * client's list, and ends as a snapshot that sandboxes go on from.
 */
import type { HostedSandbox } from '../hosted-sandbox.js';
import { RequestError } from '../http.js';
import type { LogEvent, ServerLimits } from '../options.js';
import type { SandboxTable } from '../sandbox-table.js';
import { type BuildStep, StepRunner } from './build-steps.js';
import { type BuildRequest, TemplateBuild } from './template-build.js';
import type { TemplateSource } from './template-source.js';
import { type BuildState, buildSnapshot, type TemplateStore } from './template-store.js';
import type { Uploads } from './uploads.js';

/** Builds of all owners that are kept for their clients, how many of them may run or wait, and how long. */
const BUILDS = 256;
const OPEN_BUILDS = 64;
const WAIT_LIMIT = 60 * 60_000;
/** Seconds that a build may take. */
const BUILD_LIMIT = 60 * 60;
const DEFAULT_USER = 'root';

/** What a client has a template made of. */
export interface BuildPlan {
  readonly source: TemplateSource;
  readonly steps: readonly BuildStep[];
  readonly startCommand: string;
  readonly readyCommand: string;
}

export interface BuilderOptions {
  /** Bytes of guest RAM when neither the client nor the template says. */
  readonly memory: number;
  readonly limits: Pick<ServerLimits, 'timeout'>;
  readonly log: (event: LogEvent) => void;
}

/** What the first step gets: of the template that the build goes on from, or of the image. */
function firstState({ sandbox }: HostedSandbox, defaults: TemplateSource['defaults']): BuildState {
  const { user = DEFAULT_USER, cwd = sandbox.cwd, env } = defaults;
  return { env: { ...sandbox.env, ...env }, user, ...(cwd !== undefined && { cwd }) };
}

export class Builder {
  readonly #builds = new Map<string, TemplateBuild>();

  constructor(
    private readonly table: SandboxTable,
    private readonly store: TemplateStore,
    private readonly uploads: Uploads,
    private readonly options: BuilderOptions,
  ) {}

  /** Expects a build's files and steps. @throws RequestError 429 */
  async expect(request: BuildRequest): Promise<TemplateBuild> {
    await this.#makeRoom();
    const build = new TemplateBuild(request);
    this.#builds.set(build.id, build);
    return build;
  }

  /** Drops builds that nobody has begun in time, and the oldest of those that are over. */
  async #makeRoom(): Promise<void> {
    const late = Date.now() - WAIT_LIMIT;
    for (const build of this.#all()) {
      const dropped = build.status === 'waiting' && build.createdAt.getTime() < late;
      const crowded = build.isOver && this.#builds.size >= BUILDS;
      if (!dropped && !crowded) continue;
      this.#builds.delete(build.id);
      await this.#forgetFiles(build.request.templateID);
    }
    if (this.#all().filter(({ isOver }) => !isOver).length < OPEN_BUILDS) return;
    throw new RequestError(429, `the server has ${OPEN_BUILDS} builds: that is the limit`);
  }

  #all(): TemplateBuild[] {
    return [...this.#builds.values()];
  }

  /** A build that an owner has asked for since the server's start. */
  find(owner: string, templateID: string, id: string): TemplateBuild | undefined {
    const build = this.#builds.get(id);
    const own = build?.request.owner === owner && build.request.templateID === templateID;
    return own ? build : undefined;
  }

  /** A template of an owner that is expected or built: by name or id. */
  expected(owner: string, word: string): BuildRequest | undefined {
    return this.#all()
      .map(({ request }) => request)
      .find((each) => each.owner === owner && [each.name, each.templateID].includes(word));
  }

  /** Begins; the build says how it ends. @throws RequestError 409 */
  begin(build: TemplateBuild, plan: BuildPlan): void {
    if (build.status !== 'waiting') throw new RequestError(409, `build ${build.id} has begun`);
    build.begin();
    void this.#run(build, plan);
  }

  async #run(build: TemplateBuild, plan: BuildPlan): Promise<void> {
    const { owner, templateID, name } = build.request;
    const event = { owner, template: name, build: build.id };
    this.options.log({ event: 'build-started', ...event });
    try {
      await this.#build(build, plan);
      build.succeed();
      this.options.log({ event: 'build-finished', ...event });
    } catch (error) {
      build.fail(error);
      this.options.log({ event: 'build-failed', ...event, error: String(error) });
    }
    await this.#forgetFiles(templateID).catch((error: unknown) => {
      this.options.log({ event: 'build-files-left', ...event, error: String(error) });
    });
  }

  /** The archives of a template, once none of its builds wants them. */
  async #forgetFiles(templateID: string): Promise<void> {
    const wanted = this.#all().some(
      ({ request, isOver }) => request.templateID === templateID && !isOver,
    );
    if (!wanted) await this.uploads.forget(templateID);
  }

  async #build(build: TemplateBuild, plan: BuildPlan): Promise<void> {
    const { owner, templateID, name, tags } = build.request;
    const { source, defaults } = plan.source;
    const memory = plan.source.memory ?? build.request.memory ?? this.options.memory;
    build.say(`Starting from ${source.snapshot ?? source.image}`);
    const options = {
      owner: `builder of ${owner}`,
      template: name,
      memory,
      metadata: new Map<string, string>(),
      env: {},
      onTimeout: 'kill',
      autoResume: false,
    } as const;
    const timeout = Math.min(BUILD_LIMIT, this.options.limits.timeout);
    const hosted = await this.table.create(source, options, timeout);
    try {
      const state = await this.#steps(build, plan, hosted, firstState(hosted, defaults));
      build.say('Writing the template');
      await hosted.sandbox.vm.trim();
      await hosted.sandbox.snapshot(buildSnapshot(owner, build.id));
      const createdAt = build.createdAt.toISOString();
      const finishedAt = new Date().toISOString();
      const record = { buildID: build.id, createdAt, finishedAt, memory, state };
      await this.store.add(owner, { templateID, name }, record, tags);
    } finally {
      await this.table.kill(hosted);
    }
  }

  async #steps(
    build: TemplateBuild,
    { steps, startCommand, readyCommand }: BuildPlan,
    hosted: HostedSandbox,
    state: BuildState,
  ): Promise<BuildState> {
    const { templateID } = build.request;
    const runner = new StepRunner(
      hosted,
      state,
      (hash) => this.uploads.file(templateID, hash),
      (line) => build.say(line),
    );
    for (const [at, step] of steps.entries()) {
      build.enter(String(at + 1));
      build.say(`[${at + 1}/${steps.length}] ${step.type} ${step.args.join(' ')}`.trimEnd());
      await runner.run(step);
    }
    build.enter('finalize');
    if (startCommand !== '') build.say(`Starting ${startCommand}`);
    await runner.start(startCommand, readyCommand);
    return runner.state;
  }
}
