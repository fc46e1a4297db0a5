/** The agent as a process of the host, on a socket of a temporary folder. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Agent } from '../agent.js';

const PROGRAM = fileURLToPath(new URL('../../../../agent/pando-agent', import.meta.url));

export class HostAgent {
  /** For files of a test. */
  readonly folder = mkdtempSync(join(tmpdir(), 'pando-agent-'));
  readonly agent = new Agent(() => this.connect());
  readonly #socket = join(this.folder, 'socket');
  #listens = false;
  readonly process: ChildProcess;

  /** @param descriptors that the agent may have at once (RLIMIT_NOFILE) */
  constructor(descriptors?: number) {
    const words = [PROGRAM, '--unix', this.#socket];
    const limit = descriptors === undefined ? '' : `ulimit -n ${descriptors}; `;
    this.process = spawn('/bin/sh', ['-c', `${limit}exec "$@"`, 'sh', ...words], {
      stdio: 'inherit',
    });
  }

  async connect(): Promise<Socket> {
    for (;;) {
      const socket = createConnection(this.#socket);
      try {
        await once(socket, 'connect');
        this.#listens = true;
        return socket;
      } catch (error) {
        // Its socket has a name before it listens.
        if (this.#listens || this.process.exitCode !== null) throw error;
        await sleep(5);
      }
    }
  }

  async close(): Promise<void> {
    const ended = once(this.process, 'exit');
    this.process.kill('SIGKILL');
    await ended;
    rmSync(this.folder, { recursive: true });
  }
}
