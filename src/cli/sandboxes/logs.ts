/** `pando logs`: what a sandbox's guest has printed on its console. */
import { setTimeout as sleep } from 'node:timers/promises';
import { PandoError } from '../../error.js';
import type { LogEntry } from '../../server/logs.js';
import { STANDARD_STREAMS, type Streams } from '../terminal/standard-streams.js';
import { parseCount } from '../terminal/units.js';
import { Daemon } from './daemon.js';

export interface LogFlags {
  readonly follow?: boolean;
  readonly timestamps?: boolean;
  readonly tail: string;
}

/** How often the server is asked for more, in milliseconds. */
const ASK_EVERY = 250;
const LINES_MAX = 100_000;

function textOf({ timestamp, message }: LogEntry, timestamps: boolean): string {
  return `${timestamps ? `${timestamp} ` : ''}${message}\n`;
}

export async function logsOf(
  word: string,
  { follow = false, timestamps = false, tail }: LogFlags,
  { out }: Streams = STANDARD_STREAMS,
): Promise<void> {
  const most = tail === 'all' ? LINES_MAX : parseCount('--tail', tail, 0, LINES_MAX);
  const daemon = await Daemon.reach();
  const { sandboxID } = await daemon.find(word);
  const linesAfter = async (number: string): Promise<LogEntry[]> => {
    const path = `/v2/sandboxes/${sandboxID}/logs?limit=${LINES_MAX}&after=${number}`;
    return (await daemon.call<{ logs: LogEntry[] }>('GET', path)).logs;
  };
  let lines = await linesAfter('0');
  let last = '0';
  let wanted = lines.slice(Math.max(0, lines.length - most));
  for (;;) {
    for (const entry of wanted) out.write(textOf(entry, timestamps));
    if (out.full) await out.drained();
    last = lines.at(-1)?.fields.line ?? last;
    if (!follow) return;
    await sleep(ASK_EVERY);
    try {
      lines = await linesAfter(last);
    } catch (error) {
      // It ends with its sandbox, and the server may with its last one.
      if (error instanceof PandoError && error.code.startsWith('SERVER_')) return;
      throw error;
    }
    wanted = lines;
  }
}
