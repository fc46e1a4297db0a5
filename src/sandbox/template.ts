/**
 * Templates of sandboxes: a snapshot of a machine that has booted and whose agent answers. It is made when it
 * is first needed, and made again when the image, the machine or Pando has changed: all of these are in
 * its name.
 */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { PandoError } from '../error.js';
import { ensureImage } from '../image/ensure-image.js';
import type { ProgressSink } from '../image/progress.js';
import { SnapshotStore } from '../snapshot/snapshot-store.js';
import { VERSION } from '../version.js';
import { Vm } from '../vm/vm.js';
import { Agent } from './agent/agent.js';
import { AGENT_PORT, PROTOCOL_VERSION } from './agent/protocol.js';

/** What a template's machine is made of. */
export interface TemplateOptions {
  /** Image of the store; Debian's when absent. */
  readonly image?: string | undefined;
  /** Guest RAM in bytes. */
  readonly memory: number;
  readonly progress?: ProgressSink | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** How long a guest may take until its agent answers, and how often it is asked, in milliseconds. */
const BOOT_LIMIT = 120_000;
const ASK_EVERY = 20;

/** The agent of a VM. */
export function agentOf(vm: Vm): Agent {
  return new Agent(() => vm.vsock.connect(AGENT_PORT));
}

/**
 * Waits until the agent of a running VM answers.
 * @throws PandoError SANDBOX_AGENT_SILENT, SANDBOX_AGENT_VERSION, SANDBOX_ENDED, and the signal's reason
 */
export async function agentReady(vm: Vm, signal?: AbortSignal): Promise<Agent> {
  const agent = agentOf(vm);
  const deadline = Date.now() + BOOT_LIMIT;
  let over = false;
  void vm.exited.then(() => {
    over = true;
  });
  for (;;) {
    signal?.throwIfAborted();
    if (over) {
      throw new PandoError('SANDBOX_ENDED', 'the guest ended before its agent answered', {
        remedy: 'see what its console says: pando run --image NAME',
      });
    }
    try {
      const version = await agent.ping();
      if (version === PROTOCOL_VERSION) return agent;
      const message = `the agent speaks version ${version} of its protocol, this release ${PROTOCOL_VERSION}`;
      throw new PandoError('SANDBOX_AGENT_VERSION', message, { remedy: 'pull the image again' });
    } catch (error) {
      const waits = error instanceof PandoError && error.code.startsWith('VSOCK_');
      if (!waits && !(error instanceof PandoError && error.code === 'AGENT_LOST')) throw error;
      if (Date.now() > deadline) {
        throw new PandoError(
          'SANDBOX_AGENT_SILENT',
          `the agent in the guest gave no answer in ${BOOT_LIMIT / 1000} s`,
          { remedy: 'the image needs /sbin/pando-agent and vsock drivers', cause: error },
        );
      }
    }
    await sleep(ASK_EVERY);
  }
}

/**
 * The name of the template, which is made if there is none.
 * @throws PandoError what pulling the image, making the VM and writing the snapshot throw
 */
async function ensureTemplate(options: TemplateOptions): Promise<string> {
  const { memory, progress = () => undefined, signal } = options;
  const image = await ensureImage(options.image, { progress, modules: true });
  const { kernel, initrd, modules, commandLine } = image.manifest;
  const key = JSON.stringify([VERSION, kernel, initrd, modules, commandLine, memory]);
  const name = `template-${createHash('sha256').update(key).digest('hex').slice(0, 24)}`;
  const store = new SnapshotStore();
  try {
    await store.manifest(name);
    return name;
  } catch (error) {
    if (!(error instanceof PandoError) || !error.code.startsWith('SNAPSHOT_')) throw error;
    if (error.code !== 'SNAPSHOT_NOT_FOUND') await store.remove(name);
  }
  progress('booting a template');
  const vm = await Vm.create({
    kernel: image.kernelPath,
    initrd: image.initrdPath,
    modules: image.modulesPath,
    commandLine,
    memory,
    rng: true,
    vsock: true,
  });
  try {
    vm.start();
    await agentReady(vm, signal);
    await vm.trim();
    progress('writing the template');
    await vm.snapshot({ name, replace: true });
    return name;
  } finally {
    await vm.close();
  }
}

/** Errors of a snapshot that this build cannot go on from: it is another's, or damaged. */
const OF_ANOTHER = /^(STATE_|SNAPSHOT_(STATE|OBJECT|DEVICES|FORMAT))/;

/**
 * A VM that goes on from the template; it has not been started. A template that another build has written, or
 * that is damaged, is made again.
 * @throws PandoError what making the template and `Vm.restore` throw
 */
export async function restoreTemplate(options: TemplateOptions): Promise<Vm> {
  const snapshot = await ensureTemplate(options);
  options.signal?.throwIfAborted();
  try {
    return await Vm.restore({ snapshot });
  } catch (error) {
    if (!(error instanceof PandoError) || !OF_ANOTHER.test(error.code)) throw error;
  }
  try {
    await new SnapshotStore().remove(snapshot);
  } catch (error) {
    // Another sandbox that is made now has been faster.
    if (!(error instanceof PandoError) || error.code !== 'SNAPSHOT_NOT_FOUND') throw error;
  }
  return Vm.restore({ snapshot: await ensureTemplate(options) });
}
