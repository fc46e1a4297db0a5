/** `pando serve` as a process, and the environment by which the npm package e2b finds it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { debianImage } from './boot.js';

const MAIN = fileURLToPath(import.meta.resolve('#dist/cli/main.js'));
/** Long enough for a machine with other work. */
export const TIMEOUTS = { requestTimeoutMs: 300_000, timeoutMs: 600_000 };

export interface Served {
  readonly server: ChildProcess;
  readonly url: URL;
  kill(): void;
}

/** Starts a server on a free port. @param words more of its command line */
export async function serve(words: readonly string[]): Promise<Served> {
  await debianImage();
  const server = spawn(process.execPath, [MAIN, 'serve', '--listen', '127.0.0.1:0', ...words], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const kill = (): void => {
    if (server.exitCode === null) server.kill('SIGKILL');
  };
  for await (const line of createInterface({ input: server.stdout! })) {
    const [, address] = /^pando serve: (\S+)$/.exec(line) ?? [];
    if (address === undefined) continue;
    const url = new URL(address);
    process.env.E2B_API_URL = url.origin;
    process.env.E2B_SANDBOX_URL = url.origin;
    return { server, url, kill };
  }
  kill();
  throw new Error('the server ended before it listened');
}
