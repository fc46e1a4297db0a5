/** A sandbox whose guest is the host: its agent is a process here, and its ports are the host's. */
import { once } from 'node:events';
import { createConnection } from 'node:net';
import { HostAgent } from '../../sandbox/agent/testing/host-agent.js';
import { Exec, type ExecOptions } from '../../sandbox/exec.js';
import { SandboxFiles } from '../../sandbox/files.js';
import type { Sandbox } from '../../sandbox/sandbox.js';
import { HostedSandbox } from '../hosted-sandbox.js';

export class HostSandbox {
  readonly host = new HostAgent();
  readonly sandbox: Sandbox;

  constructor() {
    const { agent } = this.host;
    const guest = {
      files: new SandboxFiles(agent),
      // Users cannot be changed to by an ordinary user.
      exec: (command: readonly string[], { user: _, ...options }: ExecOptions = {}) =>
        new Exec(agent, command, options),
      connect: async (port: number) => {
        const socket = createConnection({ port, host: '127.0.0.1', allowHalfOpen: true });
        await once(socket, 'connect');
        return socket;
      },
      close: () => this.close(),
    };
    this.sandbox = guest as unknown as Sandbox;
  }

  /** The same, as a server has it. @param processes that may run at a time */
  hosted(processes = 8): HostedSandbox {
    const options = {
      owner: 'local',
      template: 'base',
      memory: 0,
      metadata: new Map<string, string>(),
      env: {},
      onTimeout: 'kill',
      autoResume: false,
    } as const;
    return new HostedSandbox('id', this.sandbox, options, processes, () => undefined);
  }

  close(): Promise<void> {
    return this.host.close();
  }
}
