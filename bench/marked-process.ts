/**
 * A monitor in a process of its own whose guest marks workloads on its console (`@begin NAME`,
 * `@end NAME STATUS`, `@digest NAME SUM`, `@done`): when each came by the host's clock, and how much
 * processor time the monitor had used by then (proc(5), /proc/PID/stat, fields utime and stime).
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { stripVTControlCharacters } from 'node:util';

/** Linux tells processor time in ticks of 10 ms (USER_HZ) on every architecture that runs this. */
const TICK_MS = 10;
const LINES_KEPT = 30;
const STDERR_LIMIT = 4000;

/** One workload of one run. */
export interface Timed {
  readonly name: string;
  readonly wallMs: number;
  /** User and system time of all threads of the monitor. */
  readonly cpuMs: number;
  /** Of what the workload computed. */
  readonly digest: string;
}

/** One boot with all its workloads. */
export interface MarkedRun {
  /** From just before the process was started to the first workload's begin. */
  readonly bootMs: number;
  readonly workloads: readonly Timed[];
}

/**
 * A command that runs on some of the host's processors only, all its threads and children with it (taskset(1)).
 * @param cpus as `taskset --cpu-list` takes them, e.g. `1` or `0-3,8`; undefined: on all
 */
export function onProcessors(
  cpus: string | undefined,
  program: string,
  args: readonly string[],
): { readonly program: string; readonly args: readonly string[] } {
  if (cpus === undefined) return { program, args };
  return { program: 'taskset', args: ['--cpu-list', cpus, program, ...args] };
}

/** Processor time of a process so far, user and system, all threads; NaN when it has gone. */
export function cpuMs(pid: number): number {
  try {
    // The second field, the name in parentheses, may hold spaces.
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').pop()?.split(' ') ?? [];
    return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
  } catch {
    return Number.NaN;
  }
}

/**
 * Runs a monitor until its guest says that it is done.
 * @throws Error when the time is over, the process ends before, or a workload fails; it shows the
 * console's last lines
 */
export function runMarked(
  program: string,
  args: readonly string[],
  limitMs: number,
): Promise<MarkedRun> {
  const start = performance.now();
  // The fourth is where QEMU's boot-stage port goes (measure/qemu-peer.ts); nobody listens here.
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe', 'pipe'] });
  const { stdout, stderr: errors } = child;
  if (stdout === null || errors === null) throw new Error(`${program}: no pipes`);
  const lines: string[] = [];
  let partial = '';
  let stderr = '';
  const kill = (): void => {
    child.kill('SIGKILL');
  };
  process.once('exit', kill);
  return new Promise<MarkedRun>((resolve, reject) => {
    const workloads: Timed[] = [];
    let bootMs = Number.NaN;
    let begun = { name: '', wall: 0, cpu: 0 };
    let ended = { wallMs: Number.NaN, cpuMs: Number.NaN };
    const fail = (why: string): void => {
      reject(new Error(`${program}: ${why}\n${lines.slice(-LINES_KEPT).join('\n')}\n${stderr}`));
    };
    const timer = setTimeout(() => fail(`not done after ${limitMs / 1000} s`), limitMs);
    const take = (line: string, at: number): void => {
      const [mark, name = '', word = ''] = line.split(' ');
      if (mark === '@begin') {
        if (workloads.length === 0) bootMs = at - start;
        begun = { name, wall: at, cpu: cpuMs(child.pid ?? 0) };
      } else if (mark === '@end') {
        if (word !== '0' || name !== begun.name) fail(`workload ${name} ended with ${word}`);
        ended = { wallMs: at - begun.wall, cpuMs: cpuMs(child.pid ?? 0) - begun.cpu };
      } else if (mark === '@digest') {
        workloads.push({ name, ...ended, digest: word });
      } else if (mark === '@done') {
        resolve({ bootMs, workloads });
      }
    };
    stdout.setEncoding('latin1').on('data', (text: string) => {
      const at = performance.now();
      const pieces = (partial + text).split(/\r*\n/);
      partial = pieces.pop() ?? '';
      for (const piece of pieces) {
        const line = stripVTControlCharacters(piece);
        lines.push(line);
        if (lines.length > LINES_KEPT) lines.shift();
        take(line.trim(), at);
      }
    });
    errors.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-STDERR_LIMIT);
    });
    child.once('error', (cause) => fail(cause.message));
    child.once('close', (status, signal) => {
      clearTimeout(timer);
      process.removeListener('exit', kill);
      fail(`ended with ${signal ?? status} before its guest was done`);
    });
  }).finally(
    () =>
      new Promise<void>((resolve) => {
        if (child.exitCode !== null || child.signalCode !== null) resolve();
        else child.once('close', () => resolve());
        kill();
      }),
  );
}
