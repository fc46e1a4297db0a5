/** `pando logs`: what a sandbox's main command has printed, or its guest on its console. */
import type { Readable } from 'node:stream';
import { json as jsonOf } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { PandoError, reasonOf } from '../../error.js';
import type { LogEntry, OutputEntry } from '../../server/logs.js';
import { STANDARD_STREAMS, type Streams } from '../terminal/standard-streams.js';
import { parseCount } from '../terminal/units.js';
import { Daemon } from './daemon.js';
import { stampLines } from './stamp-lines.js';

export interface LogFlags {
  readonly follow?: boolean;
  readonly timestamps?: boolean;
  readonly tail: string;
  readonly console?: boolean;
}

/** How often the server is asked for more, in milliseconds. */
const ASK_EVERY = 250;
const LINES_MAX = 100_000;

function textOf({ timestamp, message }: LogEntry, timestamps: boolean): string {
  return `${timestamps ? `${timestamp} ` : ''}${message}\n`;
}

export async function logsOf(
  word: string,
  flags: LogFlags,
  streams: Streams = STANDARD_STREAMS,
): Promise<void> {
  const { follow = false, timestamps = false, tail } = flags;
  const { out } = streams;
  const most = tail === 'all' ? LINES_MAX : parseCount('--tail', tail, 0, LINES_MAX);
  const daemon = await Daemon.reach();
  const { sandboxID, main } = await daemon.find(word);
  if (main !== undefined && flags.console !== true) {
    const query = `${tail === 'all' ? '' : `lines=${most}&`}follow=${follow}`;
    await outputOf(daemon, `/sandboxes/${sandboxID}/output?${query}`, timestamps, streams);
    return;
  }
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
    if (!follow || out.failure !== undefined) return;
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

/** Lines of ASCII, each when it has ended. @throws what a stream fails with that does not come to its end */
async function* linesOf(stream: Readable): AsyncGenerator<string> {
  let rest = '';
  for await (const piece of stream.setEncoding('latin1')) {
    const lines = (rest + piece).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
}

/** Bytes as they were printed, each stream to its own. @throws PandoError SERVER_LOST, SERVER_REFUSED */
async function outputOf(
  daemon: Daemon,
  path: string,
  timestamps: boolean,
  { out, err }: Streams,
): Promise<void> {
  const response = await daemon.send('GET', path, {});
  if (response.statusCode !== 200) {
    throw new PandoError(
      'SERVER_REFUSED',
      ((await jsonOf(response)) as { message: string }).message,
    );
  }
  const forget = out.onFailure(() => response.destroy());
  const stamps = { stdout: stampLines(), stderr: stampLines() };
  try {
    for await (const line of linesOf(response)) {
      const { stream, time, data } = JSON.parse(line) as OutputEntry;
      const bytes = Buffer.from(data, 'base64');
      const to = stream === 'stderr' ? err : out;
      to.write(timestamps ? stamps[stream](bytes, time) : bytes);
      if (to.full) await to.drained();
    }
  } catch (error) {
    if (out.failure !== undefined) return;
    throw new PandoError('SERVER_LOST', `the output ended: ${reasonOf(error)}`, { cause: error });
  } finally {
    forget();
  }
}
