/** What a server keeps of sandboxes that ended with their main command: how it ended, and what it printed. */
import type { LogLine } from '../sandbox/console-log.js';
import type { HostedSandbox, SandboxRecord } from './hosted-sandbox.js';
import type { MainCommand } from './main-command.js';

/** Beyond these the oldest go. */
const KEPT = 100;

/** Without the sandbox itself, whose memory is given back. */
class EndedSandbox implements SandboxRecord {
  readonly id: string;
  readonly options: SandboxRecord['options'];
  readonly accessToken: string;
  readonly startedAt: Date;
  readonly endAt = new Date();
  readonly state = 'exited';
  readonly main: MainCommand | undefined;
  readonly #console: readonly LogLine[];

  constructor(hosted: HostedSandbox) {
    this.id = hosted.id;
    this.options = hosted.options;
    this.accessToken = hosted.accessToken;
    this.startedAt = hosted.startedAt;
    this.main = hosted.main;
    this.#console = hosted.logs();
  }

  logs(after = 0): readonly LogLine[] {
    return this.#console.filter(({ number }) => number > after);
  }
}

export class EndedSandboxes {
  readonly #records = new Map<string, SandboxRecord>();

  get size(): number {
    return this.#records.size;
  }

  list(): SandboxRecord[] {
    return [...this.#records.values()];
  }

  find(id: string): SandboxRecord | undefined {
    return this.#records.get(id);
  }

  /** Before the sandbox is closed. */
  add(hosted: HostedSandbox): void {
    this.#records.set(hosted.id, new EndedSandbox(hosted));
    for (const id of [...this.#records.keys()].slice(0, -KEPT)) this.#records.delete(id);
  }

  /** @returns whether it was there */
  remove(id: string): boolean {
    return this.#records.delete(id);
  }
}
