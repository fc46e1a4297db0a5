/** `pando serve`: sandboxes for clients that speak E2B's protocol. */
import type { Command } from 'commander';
import { PandoError } from '../error.js';
import type { LogEvent } from '../server/options.js';
import { InterruptionSource } from './interruption.js';
import { INTERRUPTION_STATUS } from './statuses.js';
import { STANDARD_STREAMS } from './terminal/standard-streams.js';
import { parseCount, parseSeconds, parseSize } from './terminal/units.js';

interface ServeFlags {
  readonly listen: string;
  readonly socket?: string;
  readonly idle?: string;
  readonly apiKey?: readonly string[];
  readonly domain: string;
  readonly pull?: boolean;
  readonly memory: string;
  readonly maxSandboxes: string;
  readonly maxMemory?: string;
  readonly maxTimeout: string;
}

/** `HOST:PORT`, with the host in brackets when it has colons. */
export function parseListen(text: string): { readonly host: string; readonly port: number } {
  const [, host = '', digits = ''] = /^(.+):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (host === '' || port > 0xffff) {
    throw new PandoError('USAGE', `--listen ${text}: not HOST:PORT`, {
      remedy: 'for example --listen 127.0.0.1:3000',
    });
  }
  return { host: host.replace(/^\[(.*)\]$/, '$1'), port };
}

function write(event: LogEvent): void {
  const line = JSON.stringify({ time: new Date().toISOString(), ...event });
  STANDARD_STREAMS.err.write(`${line}\n`);
}

async function serve(flags: ServeFlags): Promise<number> {
  const keys = flags.apiKey ?? process.env.PANDO_API_KEY?.split(',').filter(Boolean) ?? [];
  const options = {
    ...parseListen(flags.listen),
    ...(flags.socket !== undefined && { socket: flags.socket }),
    ...(flags.idle !== undefined && { idle: parseSeconds('--idle', flags.idle) }),
    apiKeys: keys,
    domain: flags.domain,
    ...(flags.pull !== undefined && { pull: flags.pull }),
    memory: parseSize('--memory', flags.memory),
    limits: {
      sandboxes: parseCount('--max-sandboxes', flags.maxSandboxes, 1, 100_000),
      timeout: Math.floor(parseSeconds('--max-timeout', flags.maxTimeout) / 1000),
      ...(flags.maxMemory !== undefined && { memory: parseSize('--max-memory', flags.maxMemory) }),
    },
    log: write,
  };
  const interruption = new InterruptionSource();
  // Only this verb needs what the server loads.
  const { Server } = await import('../server/server.js');
  try {
    await using server = await Server.listen(options);
    const { out } = STANDARD_STREAMS;
    if (flags.socket !== undefined) out.write(`pando serve: ${flags.socket}\n`);
    else {
      out.write(`pando serve: ${server.url}\n`);
      out.write(`export E2B_API_URL=${server.url} E2B_SANDBOX_URL=${server.url}`);
      out.write(keys.length === 0 ? ' E2B_API_KEY=any\n' : '\n');
    }
    const idle = server.idle.then(() => 'quit' as const);
    const by = await Promise.race([interruption.interrupted, idle]);
    if (by instanceof Error) throw by;
    write({ event: 'stopping', by });
    return INTERRUPTION_STATUS[by];
  } finally {
    interruption.conclude();
  }
}

export function registerServeCommand(program: Command): void {
  program
    .command('serve')
    .description("serve sandboxes to clients of E2B's protocol, such as the npm package e2b")
    .option('--listen <address>', 'address and port', '127.0.0.1:3000')
    .option('--socket <path>', 'listen on a UNIX socket instead')
    .option('--idle <seconds>', 'stop after so long without sandboxes and requests')
    .option('--api-key <key...>', 'keys that clients must have (default: PANDO_API_KEY, or any)')
    .option('--domain <name>', 'ports of sandboxes are PORT-ID.NAME', 'localhost')
    .option('--pull', 'let clients with keys build from images of registries')
    .option('-m, --memory <size>', 'memory of a sandbox', '512M')
    .option('--max-sandboxes <count>', 'sandboxes at a time', '64')
    .option('--max-memory <size>', 'memory of all sandboxes (default: 3/4 of the host)')
    .option('--max-timeout <seconds>', 'longest life that a sandbox may ask for', '86400')
    .action(async (flags: ServeFlags) => {
      process.exitCode = await serve(flags);
    });
}
