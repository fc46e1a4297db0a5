/** Runs test files with Node's own runner, each for a limited time, with the store of the tests. */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { TEST_ENVIRONMENT } from './test-store.mjs';

/** The longest file takes minutes, on a busy machine several times that. */
const FILE_LIMIT_MS = 30 * 60_000;
const LOOK_MS = 10_000;
const RUNNER = fileURLToPath(new URL('./test-files.mjs', import.meta.url));

/** Numbers of the processes that a process has started, proc_pid_stat(5). */
function childrenOf(parent) {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      const [, after] = readFileSync(`/proc/${pid}/stat`, 'latin1').split(/\) (?=[^)]*$)/);
      return Number(after?.split(' ')[1]) === parent;
    } catch {
      return false; // It has ended.
    }
  });
}

/** Kills what a process started more than `limit` milliseconds ago; call it again and again. */
function limiter(parent, limit) {
  const seen = new Map();
  return () => {
    const now = performance.now();
    const children = childrenOf(parent);
    for (const pid of seen.keys()) if (!children.includes(pid)) seen.delete(pid);
    for (const pid of children) {
      if (!seen.has(pid)) seen.set(pid, now);
      if (now - seen.get(pid) < limit) continue;
      console.error(`TEST_FILE_LIMIT: process ${pid} has run for ${limit / 1000} s and is ended`);
      process.kill(Number(pid), 'SIGKILL');
    }
  };
}

/**
 * The exit status of the runner. Its own time-out holds for each test; for a whole file it does so up to Node.js 22,
 * so files are ended from here.
 */
export async function runTests(files, options) {
  // Tests wait for time-outs and for each other's processes: one more than there are processors.
  const concurrency = options.concurrency ?? availableParallelism() + 1;
  const { cwd, stdio = 'inherit', limit = FILE_LIMIT_MS } = options;
  const words = [RUNNER, String(concurrency), String(limit)];
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const runner = spawn(process.execPath, [...words, ...files], {
    cwd,
    env: { ...env, ...TEST_ENVIRONMENT },
    stdio,
  });
  const timer = setInterval(limiter(runner.pid, limit), Math.min(LOOK_MS, limit));
  return new Promise((resolve, reject) => {
    runner.once('error', reject);
    runner.once('exit', (status) => resolve(status ?? 1));
  }).finally(() => clearInterval(timer));
}
