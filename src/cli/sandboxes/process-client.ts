/** A process of a sandbox, as the user's server has it: its events, its output, its status. */
import { constants } from 'node:os';
import { PandoError } from '../../error.js';
import type { ProcessEvent } from '../../server/protocol/process_pb.js';
import type { Streams } from '../terminal/standard-streams.js';

/** What loads the client; verbs without processes do without. */
export async function processClient(socketPath: string, headers: Readonly<Record<string, string>>) {
  const { createClient } = await import('@connectrpc/connect');
  const { createConnectTransport } = await import('@connectrpc/connect-node');
  const { Process } = await import('../../server/protocol/process_pb.js');
  const transport = createConnectTransport({
    baseUrl: 'http://localhost',
    httpVersion: '1.1',
    nodeOptions: { socketPath },
    interceptors: [
      (next) => (call) => {
        for (const [name, value] of Object.entries(headers)) call.header.set(name, value);
        return next(call);
      },
    ],
  });
  return createClient(Process, transport);
}

export type ProcessClient = Awaited<ReturnType<typeof processClient>>;

/** A shell's status of a command. */
function statusOf(exitCode: number, exited: boolean, status: string): number {
  if (exited) return exitCode;
  const name = status.replace('signal: ', '') as NodeJS.Signals;
  return 128 + (constants.signals[name] ?? 0);
}

/**
 * Writes what a process prints, until it ends.
 * @param started is told its number
 * @param leaving ends the events: it is aborted when nobody reads what is written
 * @returns its status
 * @throws PandoError SERVER_LOST; ConnectError
 */
export async function followProcess(
  events: AsyncIterable<{ readonly event?: ProcessEvent | undefined }>,
  { out, err }: Streams,
  started: (pid: number) => void,
  leaving: AbortController,
): Promise<number> {
  const forget = out.onFailure(() => leaving.abort());
  try {
    for await (const { event } of events) {
      const happening = event?.event;
      if (happening?.case === 'start') started(happening.value.pid);
      else if (happening?.case === 'data') {
        const { case: stream, value } = happening.value.output;
        const to = stream === 'stderr' ? err : out;
        if (value !== undefined) to.write(value);
        if (to.full) await to.drained();
      } else if (happening?.case === 'end') {
        const { exitCode, exited, status } = happening.value;
        return statusOf(exitCode, exited, status);
      }
    }
  } finally {
    forget();
  }
  throw new PandoError('SERVER_LOST', 'the command ended without a status');
}
