/**
 * The agent (docs/agent.md) as it goes into guests, beside the kernel's modules: /sbin/pando-agent, which the
 * initrd's init starts where there is one.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { CpioInput } from '../loader/cpio-writer.js';

/** Where guests have it. */
export const AGENT_PATH = '/sbin/pando-agent';

let program: Buffer | undefined;

/** Its bytes. */
export function agentProgram(): Buffer {
  program ??= readFileSync(new URL('../../agent/pando-agent', import.meta.url));
  return program;
}

/** SHA-256 of this release's agent: an image with another is made again. */
export function agentDigest(): string {
  return createHash('sha256').update(agentProgram()).digest('hex');
}

/** Entries of an archive that has the agent. */
export function agentEntries(): CpioInput[] {
  const name = AGENT_PATH.slice(1);
  return [
    { kind: 'directory', name: 'sbin', permissions: 0o755 },
    { kind: 'file', name, permissions: 0o755, content: agentProgram() },
  ];
}
