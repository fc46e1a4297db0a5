/** One build of a template, from the client's request until its status has been read: steps, log, outcome. */
import { randomUUID } from 'node:crypto';
import { answerOf } from '../http.js';

/** A line of the log, as clients read it. */
export interface BuildLogEntry {
  readonly timestamp: string;
  readonly level: 'info' | 'error';
  readonly message: string;
  readonly step: string;
}

/** Lines that are kept, and how many a client gets at a time. */
const LINES = 20_000;
const PAGE = 1000;

export type BuildStatus = 'waiting' | 'building' | 'ready' | 'error';

/** What is asked for. */
export interface BuildRequest {
  readonly owner: string;
  readonly templateID: string;
  readonly name: string;
  readonly tags: readonly string[];
  /** Bytes of guest RAM; that of what it begins with when absent. */
  readonly memory: number | undefined;
}

export class TemplateBuild {
  readonly id = randomUUID();
  readonly createdAt = new Date();
  readonly #log: BuildLogEntry[] = [];
  #status: BuildStatus = 'waiting';
  #step = 'base';
  #failure: string | undefined;

  constructor(readonly request: BuildRequest) {}

  get status(): BuildStatus {
    return this.#status;
  }

  get isOver(): boolean {
    return this.#status === 'ready' || this.#status === 'error';
  }

  begin(): void {
    this.#status = 'building';
  }

  /** What it does now: `base`, the number of a step from 1 on, `finalize`. */
  enter(step: string): void {
    this.#step = step;
  }

  say(message: string, level: BuildLogEntry['level'] = 'info'): void {
    if (this.#log.length >= LINES) return;
    const timestamp = new Date().toISOString();
    this.#log.push({ timestamp, level, message, step: this.#step });
  }

  succeed(): void {
    this.#status = 'ready';
  }

  fail(error: unknown): void {
    this.#failure = answerOf(error).message;
    this.say(this.#failure, 'error');
    this.#status = 'error';
  }

  /** @param offset lines that the client has read already */
  lines(offset: number): readonly BuildLogEntry[] {
    return this.#log.slice(offset, offset + PAGE);
  }

  /** As E2B's control plane answers. */
  answer(offset: number): object {
    return {
      templateID: this.request.templateID,
      buildID: this.id,
      status: this.#status,
      logs: [],
      logEntries: this.lines(offset),
      ...(this.#failure !== undefined && {
        reason: { message: this.#failure, step: this.#step, logEntries: [] },
      }),
    };
  }
}
