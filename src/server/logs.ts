/**
 * Logs of sandboxes: the lines of the guest's console, as E2B's control plane answers them; and what a main command
 * has printed.
 */
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { LogLine } from '../sandbox/console-log.js';
import { integerQuery } from './fields.js';
import { RequestError } from './http.js';
import type { OutputLog } from './output-log.js';

const LINES = 1000;
const LINES_MAX = 100_000;

/** The guest's console has no levels. */
const LEVEL = 'info';
const BELOW = ['debug', LEVEL];

export interface LogEntry {
  readonly timestamp: string;
  readonly level: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, string>>;
}

function entryOf({ number, time, text }: LogLine): LogEntry {
  const fields = { logger: 'console', line: String(number) };
  return { timestamp: time.toISOString(), level: LEVEL, message: text, fields };
}

/** A choice of a query. @throws RequestError 400 */
function choiceOf(query: URLSearchParams, name: string, choices: readonly string[]): string {
  const chosen = query.get(name) ?? choices[0] ?? '';
  if (choices.includes(chosen)) return chosen;
  throw new RequestError(400, `${name} is none of ${choices.join(', ')}`);
}

/** Answer of /sandboxes/ID/logs. @throws RequestError 400 */
export function logsAnswer(lines: readonly LogLine[], query: URLSearchParams): object {
  const limit = integerQuery(query, 'limit', 0, LINES_MAX) ?? LINES;
  const start = integerQuery(query, 'start', 0, Number.MAX_SAFE_INTEGER) ?? 0;
  const chosen = lines.filter(({ time }) => time.getTime() >= start).slice(0, limit);
  return {
    logs: chosen.map(({ time, text }) => ({ timestamp: time.toISOString(), line: text })),
    logEntries: chosen.map(entryOf),
  };
}

/** Answer of /v2/sandboxes/ID/logs. @throws RequestError 400 */
export function entriesAnswer(lines: readonly LogLine[], query: URLSearchParams): object {
  const limit = integerQuery(query, 'limit', 0, LINES_MAX) ?? LINES;
  const cursor = integerQuery(query, 'cursor', 0, Number.MAX_SAFE_INTEGER);
  const search = query.get('search') ?? '';
  const level = choiceOf(query, 'level', [...BELOW, 'warn', 'error']);
  const isBackward = choiceOf(query, 'direction', ['forward', 'backward']) === 'backward';
  const found = lines.filter(({ time, text }) => {
    const at = time.getTime();
    const isPast = cursor !== undefined && (isBackward ? at > cursor : at < cursor);
    return !isPast && text.includes(search) && BELOW.includes(level);
  });
  const ordered = isBackward ? found.toReversed() : found;
  return { logs: ordered.slice(0, limit).map(entryOf) };
}

/** The number of the last line that a client of this project has: it asks for those behind. @throws RequestError 400 */
export function lastSeen(query: URLSearchParams): number {
  return integerQuery(query, 'after', 0, Number.MAX_SAFE_INTEGER) ?? 0;
}

/** A piece of a main command's output, as an answer has it. */
export interface OutputEntry {
  readonly stream: 'stdout' | 'stderr';
  readonly time: string;
  /** Base64. */
  readonly data: string;
}

/**
 * Answers what a main command has printed, one object a line: the last `lines`, and with `follow=true` what comes
 * until its end.
 * @throws RequestError 400
 */
export async function sendOutput(
  log: OutputLog,
  query: URLSearchParams,
  response: ServerResponse,
): Promise<void> {
  const lines = integerQuery(query, 'lines', 0, Number.MAX_SAFE_INTEGER);
  const follows = choiceOf(query, 'follow', ['false', 'true']) === 'true';
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  response.writeHead(200, { 'content-type': 'application/x-ndjson' });
  response.flushHeaders();
  for await (const { stream, time, data } of log.read(lines, follows ? gone.signal : undefined)) {
    const text = Buffer.from(data).toString('base64');
    const entry: OutputEntry = { stream, time: time.toISOString(), data: text };
    if (gone.signal.aborted) return;
    if (!response.write(`${JSON.stringify(entry)}\n`)) {
      await once(response, 'drain', { signal: gone.signal }).catch(() => undefined);
    }
  }
  response.end();
}
