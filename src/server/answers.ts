/** Sandboxes and snapshots as E2B's control plane answers them. */
import { ENVD_VERSION } from './envd/envd.js';
import type { SandboxRecord } from './hosted-sandbox.js';

/** What a client needs to reach a sandbox. @param domain with the server's port */
export function accessAnswer(hosted: SandboxRecord, domain: string): object {
  return {
    sandboxID: hosted.id,
    templateID: hosted.options.template,
    clientID: 'pando',
    envdVersion: ENVD_VERSION,
    envdAccessToken: hosted.accessToken,
    domain,
  };
}

/** An entry of a list. */
export function listAnswer(hosted: SandboxRecord): object {
  const { template, memory, metadata } = hosted.options;
  const memoryMB = Math.floor(memory / 2 ** 20);
  return {
    sandboxID: hosted.id,
    templateID: template,
    clientID: 'pando',
    startedAt: hosted.startedAt.toISOString(),
    endAt: hosted.endAt.toISOString(),
    state: hosted.state,
    cpuCount: 1,
    memoryMB,
    // The root file system is in memory.
    diskSizeMB: memoryMB,
    envdVersion: ENVD_VERSION,
    metadata: Object.fromEntries(metadata),
    // Beyond E2B's.
    ...(hosted.main !== undefined && { main: hosted.main.answer }),
  };
}

export function detailAnswer(hosted: SandboxRecord, domain: string): object {
  const { onTimeout, autoResume } = hosted.options;
  return {
    ...listAnswer(hosted),
    ...accessAnswer(hosted, domain),
    lifecycle: { onTimeout, autoResume },
  };
}
