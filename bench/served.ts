/** `pando serve` for a bench: a process that clients of the npm package e2b find, and whose figures can be asked. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { storeDirectory } from '#dist/image/directories.js';
import type { ServedFigures } from './server-figures.js';

const MAIN = fileURLToPath(import.meta.resolve('#dist/cli/main.js'));
const FIGURES = new URL('./server-figures.js', import.meta.url).href;

/** How often threads are counted until a server is at rest, and how long that is waited for, in milliseconds. */
const COUNT_EVERY = 500;
const REST_LIMIT = 30_000;

/** What a server holds: of its process, and files of the store and of the folders where it may leave some. */
export interface ServerFigures extends ServedFigures {
  readonly storeFiles: number;
  readonly runtimeFiles: number;
}

function filesBelow(folder: string): number {
  return readdirSync(folder, { recursive: true }).length;
}

export class BenchServer implements Disposable {
  readonly #runtime: string;
  /** Threads of a server without sandboxes. */
  #resting = Number.POSITIVE_INFINITY;

  private constructor(
    private readonly process: ChildProcess,
    runtime: string,
  ) {
    this.#runtime = runtime;
  }

  /** Starts it on a free port, and has clients of this process find it. @param words more of its command line */
  static async start(words: readonly string[] = []): Promise<BenchServer> {
    const runtime = mkdtempSync(join(tmpdir(), 'pando-served-'));
    // Young generations that grow for an hour, one a thread, would hide what leaks.
    const own = ['--expose-gc', '--max-semi-space-size=2', '--import', FIGURES, MAIN];
    const child = spawn(process.execPath, [...own, 'serve', '--listen', '127.0.0.1:0', ...words], {
      stdio: ['ignore', 'pipe', 'ignore', 'ipc'],
      env: { ...process.env, XDG_RUNTIME_DIR: runtime, TMPDIR: runtime },
    });
    const server = new BenchServer(child, runtime);
    for await (const line of createInterface({ input: child.stdout! })) {
      const [, url] = /^pando serve: (\S+)$/.exec(line) ?? [];
      if (url === undefined) continue;
      Object.assign(process.env, { E2B_API_URL: url, E2B_SANDBOX_URL: url, E2B_API_KEY: 'any' });
      return server;
    }
    server[Symbol.dispose]();
    throw new Error('the server ended before it listened');
  }

  get #threads(): number {
    return readdirSync(`/proc/${this.process.pid}/task`).length;
  }

  /** Waits for its first rest: what it has then is what later ones must come down to. */
  async settle(): Promise<void> {
    await sleep(REST_LIMIT / 2);
    this.#resting = this.#threads;
  }

  /** What it holds at rest: threads of VMs wait for another one, and end (docs/architecture.md). */
  async figures(): Promise<ServerFigures> {
    const began = performance.now();
    let threads = this.#threads;
    while (threads > this.#resting && performance.now() - began < REST_LIMIT) {
      await sleep(COUNT_EVERY);
      threads = this.#threads;
    }
    const answer = once(this.process, 'message') as Promise<[ServedFigures]>;
    this.process.send('figures');
    const [figures] = await answer;
    return {
      ...figures,
      storeFiles: filesBelow(storeDirectory()),
      runtimeFiles: filesBelow(this.#runtime),
    };
  }

  [Symbol.dispose](): void {
    this.process.kill('SIGKILL');
    rmSync(this.#runtime, { recursive: true, force: true });
  }
}
