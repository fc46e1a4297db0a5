/** The service process.Process: what E2B's clients do with commands and terminals. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { ConnectRouter, HandlerContext } from '@connectrpc/connect';
import { RequestError } from '../http.js';
import { END_WITH_CLIENT } from '../options.js';
import {
  Process,
  type ProcessEventSchema,
  type ProcessInput,
  type ProcessSelector,
  type PTY,
  type StartRequest,
} from '../protocol/process_pb.js';
import { asConnectErrors, keepAliveOf, sandboxOf, userOf } from './calls.js';
import type {
  HostedProcess,
  ProcessHappening,
  ProcessStart,
  TerminalSize,
} from './process-table.js';
import type { Subscription } from './subscription.js';

const DEFAULT_SIZE: TerminalSize = { rows: 24, columns: 80 };
const SIZE_MAX = 0xffff;

function processOf(selector: ProcessSelector | undefined, context: HandlerContext): HostedProcess {
  const { value } = selector?.selector ?? {};
  if (value === undefined) throw new RequestError(400, 'a request that selects no process');
  return sandboxOf(context).processes.get(value);
}

function sizeOf(terminal: PTY): TerminalSize {
  if (terminal.size === undefined) return DEFAULT_SIZE;
  const { rows, cols } = terminal.size;
  if (rows > SIZE_MAX || cols > SIZE_MAX) throw new RequestError(400, 'a terminal that large');
  return { rows, columns: cols };
}

async function startOf(request: StartRequest, context: HandlerContext): Promise<ProcessStart> {
  const { process: config, pty, tag, stdin = true } = request;
  if (config === undefined || config.cmd === '') throw new RequestError(400, 'no command');
  const { users, options } = sandboxOf(context);
  const name = userOf(context);
  const user = await users.find(name);
  const { [END_WITH_CLIENT]: endsWithClients = options.env[END_WITH_CLIENT], ...env } = config.envs;
  return {
    command: config.cmd,
    arguments: config.args,
    env,
    cwd: config.cwd ? await users.path(config.cwd, name) : (options.cwd ?? user.home),
    user: user.name,
    tag,
    stdin,
    terminal: pty === undefined ? undefined : sizeOf(pty),
    // The client's limit for the call is one for the command, whether the client still listens or not.
    timeout: context.timeoutMs(),
    endsWithClients: endsWithClients === '1',
  };
}

async function giveInput(process: HostedProcess, input: ProcessInput | undefined): Promise<void> {
  const { value } = input?.input ?? {};
  if (value !== undefined) await process.write(value);
}

type EventInit = MessageInitShape<typeof ProcessEventSchema>;

function endOf({ exitCode, signal }: Extract<ProcessHappening, { kind: 'end' }>): EventInit {
  const status = signal === undefined ? `exit status ${exitCode}` : `signal: ${signal}`;
  const value = {
    exitCode: exitCode ?? -1,
    exited: signal === undefined,
    status,
    ...(exitCode !== 0 && { error: status }),
  };
  return { event: { case: 'end', value } };
}

function eventOf(happening: ProcessHappening | 'idle'): EventInit {
  if (happening === 'idle') return { event: { case: 'keepalive', value: {} } };
  if (happening.kind === 'end') return endOf(happening);
  const output = { case: happening.kind, value: happening.data };
  return { event: { case: 'data', value: { output } } };
}

/** All that a process does, until it ends or the client goes. */
async function* events(
  process: HostedProcess,
  listener: Subscription<ProcessHappening>,
  context: HandlerContext,
): AsyncGenerator<{ readonly event: EventInit }, void, void> {
  const leave = (): void => process.leave(listener);
  context.signal.addEventListener('abort', leave, { once: true });
  // The client may have gone while the process was started.
  if (context.signal.aborted) leave();
  try {
    yield { event: { event: { case: 'start', value: { pid: process.pid } } } };
    const idle = keepAliveOf(context);
    for (;;) {
      const happening = await listener.next(idle);
      if (happening === undefined) break;
      yield { event: eventOf(happening) };
    }
    context.signal.throwIfAborted();
  } finally {
    context.signal.removeEventListener('abort', leave);
    leave();
  }
}

export function addProcessService(router: ConnectRouter): void {
  router.service(
    Process,
    asConnectErrors<typeof Process>({
      list(_request, context) {
        const processes = sandboxOf(context)
          .processes.list()
          .map(({ pid, start }) => ({
            pid,
            ...(start.tag !== undefined && { tag: start.tag }),
            config: {
              cmd: start.command,
              args: [...start.arguments],
              envs: { ...start.env },
              ...(start.cwd !== undefined && { cwd: start.cwd }),
            },
          }));
        return { processes };
      },

      async *start(request, context) {
        const start = await startOf(request, context);
        const process = await sandboxOf(context).processes.start(start);
        yield* events(process, process.first, context);
      },

      async *connect(request, context) {
        const process = processOf(request.process, context);
        yield* events(process, process.listen(), context);
      },

      async update(request, context) {
        const process = processOf(request.process, context);
        if (request.pty !== undefined) await process.resize(sizeOf(request.pty));
        return {};
      },

      async streamInput(requests, context) {
        let process: HostedProcess | undefined;
        for await (const { event } of requests) {
          if (event.case === 'start') process = processOf(event.value.process, context);
          else if (event.case === 'data') {
            if (process === undefined) throw new RequestError(400, 'input before a process');
            await giveInput(process, event.value.input);
          }
        }
        return {};
      },

      async sendInput(request, context) {
        await giveInput(processOf(request.process, context), request.input);
        return {};
      },

      async sendSignal(request, context) {
        const { signal } = request;
        if (signal === 0) throw new RequestError(400, 'a request without a signal');
        await processOf(request.process, context).signal(signal);
        return {};
      },

      closeStdin(request, context) {
        processOf(request.process, context).closeInput();
        return {};
      },
    }),
  );
}
