/**
 * Templates of sandboxes: a snapshot of a machine that has booted and whose agent answers. It is made when it
 * is first needed, and made again when the image, the machine or Pando has changed: all of these are in
 * its name.
 */
import { createHash, randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { PandoError } from '../error.js';
import { agentDigest } from '../image/agent.js';
import { ensureImage } from '../image/ensure-image.js';
import {
  type ContainerConfig,
  DEFAULT_IMAGE_NAME,
  PANIC_RESETS,
  PANIC_SHOWS,
} from '../image/manifest.js';
import type { ProgressSink } from '../image/progress.js';
import { ImageStore } from '../image/store.js';
import { SnapshotStore } from '../snapshot/snapshot-store.js';
import { VERSION } from '../version.js';
import { asleep } from '../vm/asleep.js';
import type { VmOptions } from '../vm/types.js';
import { Vm } from '../vm/vm.js';
import { Agent, type GuestEnd } from './agent/agent.js';
import { AGENT_PORT, PROTOCOL_VERSION } from './agent/protocol.js';
import { ConsoleLog } from './console-log.js';
import { sandboxEnd } from './ended.js';
import { Exec } from './exec.js';

/** What a template's machine is made of. */
export interface TemplateOptions {
  /** Image of the store, or a registry's reference; Debian's when absent. */
  readonly image?: string | undefined;
  /** Guest RAM in bytes. */
  readonly memory: number;
  readonly progress?: ProgressSink | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Bytes of entropy that a sandbox gets before it runs anything. */
export const ENTROPY = 64;
/** How long a guest may take until its agent answers, and how often it is asked, in milliseconds. */
const BOOT_LIMIT = 120_000;
const ASK_EVERY = 20;
/** How long a guest may be busy once its agent answers, in milliseconds: some are for good. */
const SLEEP_LIMIT = 10_000;

/** The agent of a VM. @param guest what is known of its end, if anything */
export function agentOf(vm: Vm, guest?: GuestEnd): Agent {
  return new Agent(() => vm.vsock.connect(AGENT_PORT), guest);
}

/**
 * Asks the agent of a running VM until it answers.
 * @param ask the request
 * @throws PandoError SANDBOX_AGENT_SILENT, SANDBOX_AGENT_VERSION, SANDBOX_ENDED, what the agent answers, and the
 * signal's reason
 */
export async function agentReady(
  vm: Vm,
  ask: (agent: Agent) => Promise<void>,
  signal?: AbortSignal,
): Promise<Agent> {
  const log = new ConsoleLog();
  const unsubscribe = vm.onConsole((bytes) => log.add(bytes));
  try {
    return await answering(vm, log, ask, signal);
  } finally {
    unsubscribe();
  }
}

async function answering(
  vm: Vm,
  log: ConsoleLog,
  ask: (agent: Agent) => Promise<void>,
  signal: AbortSignal | undefined,
): Promise<Agent> {
  const agent = agentOf(vm);
  const deadline = Date.now() + BOOT_LIMIT;
  for (;;) {
    signal?.throwIfAborted();
    try {
      await ask(agent);
      return agent;
    } catch (error) {
      const end = sandboxEnd(vm, log);
      if (end !== undefined) throw end;
      const { code = '' } = error instanceof PandoError ? error : {};
      if (code === 'GUEST_EPROTONOSUPPORT') throw otherVersion('another version', error);
      if (!code.startsWith('VSOCK_') && code !== 'AGENT_LOST') throw error;
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

function otherVersion(spoken: string, cause?: unknown): PandoError {
  const message = `the agent speaks ${spoken} of its protocol, this release version ${PROTOCOL_VERSION}`;
  return new PandoError('SANDBOX_AGENT_VERSION', message, {
    remedy: 'pull the image again',
    cause,
  });
}

/** Whether the agent is one that this release can talk to. @throws PandoError SANDBOX_AGENT_VERSION */
async function checkVersion(agent: Agent): Promise<void> {
  const version = await agent.ping();
  if (version !== PROTOCOL_VERSION) throw otherVersion(`version ${version}`);
}

/** Does what each sandbox will do first: it finds the pages, and the code, that this needs in the template. */
async function warmUp(agent: Agent): Promise<void> {
  const names = { hostname: 'sandbox', machineId: '0'.repeat(32) };
  const clock = BigInt(Date.now()) * 1_000_000n;
  await agent.system({ clock, entropy: randomBytes(ENTROPY), ...names });
  try {
    await new Exec(agent, ['true']);
  } catch (error) {
    // An image may be without it.
    if (!(error instanceof PandoError) || !error.code.startsWith('GUEST_')) throw error;
  }
}

/** What the machine of a template is made of. */
interface TemplateMachine {
  /** All that decides about it. */
  readonly key: readonly unknown[];
  readonly defaults: TemplateDefaults;
  /** Options of the VM; `close` when it has been made. */
  open(): Promise<{ readonly options: VmOptions; close(): Promise<void> }>;
}

/** What commands get that say nothing else: the configuration of a container image. */
export interface TemplateDefaults {
  readonly env?: Readonly<Record<string, string>>;
  readonly user?: string;
  readonly cwd?: string;
}

/** A machine of a kernel and an initrd that starts the agent. */
async function initrdMachine(name: string, progress: ProgressSink): Promise<TemplateMachine> {
  const image = await ensureImage(name, { progress, modules: true });
  const { kernel, initrd, modules, commandLine } = image.manifest;
  const options = {
    kernel: image.kernelPath,
    initrd: image.initrdPath,
    modules: image.modulesPath,
    commandLine,
  };
  const open = async () => ({ options, close: async () => undefined });
  return { key: [kernel, initrd, modules, commandLine], defaults: {}, open };
}

function defaultsOf({ env, user, workdir }: ContainerConfig): TemplateDefaults {
  const pairs = env.map((variable): [string, string] => {
    const at = variable.indexOf('=');
    return [variable.slice(0, at), variable.slice(at + 1)];
  });
  return {
    env: Object.fromEntries(pairs),
    ...(user !== '' && { user }),
    ...(workdir !== '' && { cwd: workdir }),
  };
}

/** A machine whose root is a container image's, with the agent in it (docs/rootfs.md). */
async function rootMachine(
  store: ImageStore,
  name: string,
  progress: ProgressSink,
): Promise<TemplateMachine> {
  const { findRoot, kernelOf, prepareAgent } = await import('../image/root-boot.js');
  const root = await findRoot(store, name, progress);
  const { kernel, modules } = (await kernelOf(store, root, undefined, progress)).manifest;
  return {
    key: [root.manifest.root?.metadata, agentDigest(), kernel, modules, PANIC_SHOWS],
    defaults: defaultsOf(root.config),
    async open() {
      const { device, close, ...boot } = await prepareAgent(store, root, progress);
      const { kernel: kernelPath, initrd, modules: modulesPath, commandLine } = boot;
      const files = { kernel: kernelPath, initrd, modules: modulesPath };
      const shown = `${commandLine} ${PANIC_SHOWS}`;
      return { options: { ...files, commandLine: shown, pmem: device }, close };
    },
  };
}

async function hasRoot(store: ImageStore, name: string): Promise<boolean> {
  try {
    return (await store.manifest(name)).root !== undefined;
  } catch (error) {
    if (error instanceof PandoError) return false;
    throw error;
  }
}

/** @throws PandoError what pulling the image throws */
async function machineOf({
  image = DEFAULT_IMAGE_NAME,
  progress = () => undefined,
}: TemplateOptions): Promise<TemplateMachine> {
  const store = new ImageStore();
  const isRoot = image.includes('/') || (await hasRoot(store, image));
  return isRoot ? rootMachine(store, image, progress) : initrdMachine(image, progress);
}

/** Removes a template, unless another sandbox that is made now has been faster. */
async function removeTemplate(store: SnapshotStore, name: string): Promise<void> {
  try {
    await store.remove(name);
  } catch (error) {
    if (!(error instanceof PandoError) || error.code !== 'SNAPSHOT_NOT_FOUND') throw error;
  }
}

/**
 * The name of the machine's template, which is made if there is none.
 * @throws PandoError what making the VM and writing the snapshot throw
 */
async function ensureTemplate(machine: TemplateMachine, options: TemplateOptions): Promise<string> {
  const { memory, progress = () => undefined, signal } = options;
  const key = JSON.stringify([VERSION, ...machine.key, memory, PANIC_RESETS]);
  const name = `template-${createHash('sha256').update(key).digest('hex').slice(0, 24)}`;
  const store = new SnapshotStore();
  try {
    await store.manifest(name);
    return name;
  } catch (error) {
    if (!(error instanceof PandoError) || !error.code.startsWith('SNAPSHOT_')) throw error;
    if (error.code !== 'SNAPSHOT_NOT_FOUND') await removeTemplate(store, name);
  }
  progress('booting a template');
  const boot = await machine.open();
  let vm: Vm;
  try {
    const { commandLine = '', ...parts } = boot.options;
    const ends = { commandLine: `${commandLine} ${PANIC_RESETS}`, reboot: false };
    vm = await Vm.create({ ...parts, ...ends, memory, rng: true, vsock: true });
  } finally {
    await boot.close();
  }
  try {
    vm.start();
    const agent = await agentReady(vm, checkVersion, signal);
    const { cwd } = machine.defaults;
    // The folder of a container is made when its image lacks it, as by `docker run`.
    if (cwd !== undefined) await agent.mkdir(cwd, { recursive: true });
    await warmUp(agent);
    const limit = AbortSignal.timeout(SLEEP_LIMIT);
    const limits = signal === undefined ? limit : AbortSignal.any([limit, signal]);
    // What the guest still does would be done in each sandbox again, beside its first command.
    await asleep(vm, limits);
    // The code that each sandbox will run is decoded in the template, and no other.
    await vm.trim();
    await warmUp(agent);
    await asleep(vm, limits);
    signal?.throwIfAborted();
    progress('writing the template');
    await vm.snapshot({ name, replace: true });
    return name;
  } finally {
    await vm.close();
  }
}

/** Errors of a snapshot that this build cannot go on from: it is another's, damaged, or has been removed since. */
const OF_ANOTHER = /^(STATE_|SNAPSHOT_(STATE|OBJECT|DEVICES|FORMAT|NOT_FOUND))/;

/** A VM that goes on from a template. */
export interface TemplateClone {
  /** It has not been started. */
  readonly vm: Vm;
  readonly defaults: TemplateDefaults;
}

/**
 * Goes on from the template of an image. A template that another build has written, or that is damaged, is made
 * again.
 * @throws PandoError what pulling, making the template and `Vm.restore` throw
 */
export async function restoreTemplate(options: TemplateOptions): Promise<TemplateClone> {
  const machine = await machineOf(options);
  const { defaults } = machine;
  const snapshot = await ensureTemplate(machine, options);
  options.signal?.throwIfAborted();
  try {
    return { vm: await Vm.restore({ snapshot, reboot: false }), defaults };
  } catch (error) {
    if (!(error instanceof PandoError) || !OF_ANOTHER.test(error.code)) throw error;
  }
  await removeTemplate(new SnapshotStore(), snapshot);
  const again = await ensureTemplate(machine, options);
  return { vm: await Vm.restore({ snapshot: again, reboot: false }), defaults };
}
