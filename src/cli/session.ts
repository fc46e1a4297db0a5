/**
 * One run of VMs from creation to the last byte of their consoles: what `pando run` and `pando demo`
 * share. Whatever happens on the way, every VM is closed and the terminal is as it was.
 */

import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { BootQueue } from '../fleet/boot-queue.js';
import {
  closeVms,
  type Isolation,
  type Makers,
  planVms,
  type SharedImages,
} from '../fleet/fleet.js';
import type { FleetVm } from '../fleet/fleet-vm.js';
import type { VmOptions } from '../vm/types.js';
import { explain } from './explain.js';
import { InterruptionSource } from './interruption.js';
import { showVms } from './progress.js';
import { type ImageFile, measureRun, type RunReport, tryObserve } from './report.js';
import { connectSerial, type SerialTarget } from './serial.js';
import { PATIENCE_MS, patienceFor } from './statuses.js';
import { exitStatus, type Outcome, supervise, Watched } from './supervise.js';
import { connectInput } from './terminal/console-input.js';
import { CONSOLE_HINT } from './terminal/escape-filter.js';
import { outputEnd, type Streams } from './terminal/standard-streams.js';

/** What a session does. */
export interface SessionOptions {
  readonly vm: VmOptions;
  /** The VMs go on from this snapshot, which was made of such a VM. */
  readonly snapshot?: string | undefined;
  readonly count: number;
  readonly isolate: Isolation;
  readonly serial: SerialTarget;
  readonly until: string | undefined;
  readonly timeoutMs: number | undefined;
  /** Whether the result has a report. */
  readonly measure: boolean;
  /** Looks at the VMs once what ends the session has come, before they are closed. */
  readonly inspect?: (vms: readonly FleetVm[], images: SharedImages) => Promise<void>;
  /** How long VMs run on, once their consoles have printed the text, before they are measured. */
  readonly settleMs: number;
  /** Whether the lines of the live progress stay on the terminal. */
  readonly lastingProgress: boolean;
}

/** How a session ended. */
export interface SessionResult {
  readonly outcome: Outcome;
  readonly status: number;
  /** undefined unless asked for. */
  readonly report: RunReport | undefined;
  /** What went wrong, as lines for standard error. */
  readonly complaints: readonly string[];
}

/** One that boots fills a processor; two are never too many. What goes on from a snapshot does not boot. */
function bootsAtOnce({ snapshot, count }: SessionOptions): number {
  return snapshot === undefined ? Math.max(2, availableParallelism()) : count;
}

/** Undoes things in the opposite order of their doing. */
class Undo {
  private readonly steps: (() => unknown)[] = [];

  add(step: () => unknown): void {
    this.steps.push(step);
  }

  /** Every step is done; then what the first that failed has thrown is thrown. */
  async all(): Promise<void> {
    const failures: unknown[] = [];
    for (let step = this.steps.pop(); step !== undefined; step = this.steps.pop()) {
      try {
        await step();
      } catch (cause) {
        failures.push(cause);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}

/**
 * Makes the VMs, starts them, waits for what ends the session, measures, explains, and closes them.
 * @throws PandoError what creating VMs and connecting their consoles throws, OUTPUT_UNWRITABLE,
 * SERIAL_FILE_UNWRITABLE
 */
export async function runSession(
  options: SessionOptions,
  streams: Streams,
  makers: Makers,
): Promise<SessionResult> {
  const undo = new Undo();
  const interruption = new InterruptionSource();
  undo.add(() => interruption.release());
  undo.add(streams.out.onFailure((cause) => interruption.end(outputEnd(streams.out, cause))));
  try {
    const images = makers.shareImages(options.vm);
    undo.add(() => images.close());
    const vm = {
      ...options.vm,
      kernel: images.kernel,
      initrd: images.initrd,
      modules: images.modules,
      immutableImages: true,
    };
    const { snapshot } = options;
    const made = snapshot === undefined ? vm : { snapshot, reboot: vm.reboot };
    const vms = planVms(made, options.count, options.isolate, makers);
    undo.add(() => closeVms(vms));
    const watched = vms.map((vm) => new Watched(vm, options.until));
    const queue = new BootQueue(
      vms,
      bootsAtOnce(options),
      (cause) => interruption.end(cause),
      ({ index }) => watched[index]?.waits === true && watched[index].done,
    );
    undo.add(() => queue.stop());
    await queue.prepare();
    const screen = new Undo();
    undo.add(() => screen.all());
    const serial = connectSerial(options.serial, vms, streams.out, (error) =>
      interruption.end(error),
    );
    let patience: number | undefined = PATIENCE_MS;
    screen.add(() => serial.close(patience));
    const [only] = vms;
    if (options.serial.kind === 'stdio' && vms.length === 1 && only !== undefined) {
      screen.add(connectConsole(only, streams, interruption));
    }
    if (options.serial.kind !== 'stdio') {
      screen.add(showVms(watched, streams.err, options.lastingProgress));
    }
    queue.start();
    const outcome = await supervise(watched, options.timeoutMs, interruption.interrupted);
    queue.stop();
    if (outcome.kind === 'until' && options.settleMs > 0) {
      await Promise.race([sleep(options.settleMs), interruption.interrupted]);
    }
    interruption.conclude();
    if (outcome.kind === 'failed') throw outcome.error;
    patience = patienceFor(exitStatus(outcome, watched));
    const report = options.measure
      ? await measureRun(watched, outcome, imageFiles(options.vm, images))
      : undefined;
    await options.inspect?.(vms, images);
    await screen.all();
    const complaints = await explain(outcome, watched, options.timeoutMs, ({ vm }) =>
      tryObserve(vm),
    );
    return { outcome, status: exitStatus(outcome, watched), report, complaints };
  } finally {
    await undo.all();
  }
}

/** The keyboard, or what takes its place, for the only VM. */
function connectConsole(
  vm: FleetVm,
  { input, err }: Streams,
  interruption: InterruptionSource,
): () => void {
  if (input === undefined) return () => undefined;
  if (input.isTTY === true) err.write(CONSOLE_HINT);
  return connectInput(input, {
    write: (bytes) =>
      vm.writeConsole(bytes).then(
        () => undefined,
        // What is typed at a guest that takes nothing for long is lost, as on any serial line.
        () => undefined,
      ),
    show: (text) => err.write(text),
    quit: () => interruption.end('quit'),
  });
}

/** The files that are mapped, each with the name that the user knows it by. */
function imageFiles(asked: VmOptions, mapped: SharedImages): ImageFile[] {
  const files = [{ name: asked.kernel, path: mapped.kernel }];
  if (asked.initrd !== undefined && mapped.initrd !== undefined) {
    files.push({ name: asked.initrd, path: mapped.initrd });
  }
  return files;
}
