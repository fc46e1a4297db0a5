/** Where the guests' serial consoles go: `--serial stdio|file:PATTERN|null`. */
import { PandoError, reasonOf } from '../error.js';
import type { FleetVm } from '../fleet/fleet-vm.js';
import { remedyFor } from '../system-error.js';
import { LineCutter } from './terminal/console-lines.js';
import type { Output } from './terminal/output.js';
import { openOutputFile } from './terminal/output-ports.js';

/** A parsed `--serial`. */
export type SerialTarget =
  | { readonly kind: 'stdio' }
  | { readonly kind: 'null' }
  /** `%d` in the pattern stands for the VM's number. */
  | { readonly kind: 'file'; readonly pattern: string };

/** @throws PandoError SERIAL_INVALID, SERIAL_PATTERN_WITHOUT_NUMBER */
export function parseSerial(value: string, count: number): SerialTarget {
  if (value === 'stdio' || value === 'null') return { kind: value };
  const pattern = /^file:(.+)$/s.exec(value)?.[1];
  if (pattern === undefined) {
    throw new PandoError('SERIAL_INVALID', `--serial ${JSON.stringify(value)} is not known`, {
      remedy: 'use stdio, null or file:PATTERN',
    });
  }
  if (count > 1 && !pattern.includes('%d')) {
    const message = `--serial file:${pattern} is one file for ${count} VMs`;
    throw new PandoError('SERIAL_PATTERN_WITHOUT_NUMBER', message, {
      remedy: 'put %d into its name: it becomes the number of the VM',
    });
  }
  return { kind: 'file', pattern };
}

/** Consoles that are connected. */
export interface SerialOutput {
  /**
   * Disconnects them, passes on what they have printed, and closes what was opened.
   * @param patience see `Output.flush`
   * @throws PandoError SERIAL_FILE_UNWRITABLE
   */
  close(patience: number | undefined): Promise<void>;
}

function unwritable(path: string, cause: unknown): PandoError {
  const reason = reasonOf(cause);
  return new PandoError('SERIAL_FILE_UNWRITABLE', `serial console file ${path}: ${reason}`, {
    remedy: remedyFor(reason) ?? 'name a file in a folder that exists and that you may write',
    cause,
  });
}

/** Waits until the readers have the last of those VMs that have ended, or `patience` is over. */
async function lastOutput(vms: readonly FleetVm[], patience: number | undefined): Promise<void> {
  const ended: FleetVm[] = [];
  for (const vm of vms) void vm.exited.then(() => ended.push(vm));
  await new Promise((resolve) => setImmediate(resolve));
  const drained = Promise.all(ended.map((vm) => vm.consoleDrained()));
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    if (patience !== undefined) timer = setTimeout(resolve, patience);
  });
  await Promise.race([drained, late]);
  clearTimeout(timer);
}

/** Writes a console's bytes; what it returns holds the guest back while too much waits. */
function writer(output: Output): (bytes: Uint8Array) => Promise<void> | undefined {
  return (bytes) => {
    output.write(bytes);
    return output.full ? output.drained() : undefined;
  };
}

function toFiles(
  vms: readonly FleetVm[],
  pattern: string,
  fail: (error: PandoError) => void,
): SerialOutput {
  const files: Output[] = [];
  const closers: (() => void)[] = [];
  const close = async (patience: number | undefined): Promise<void> => {
    await lastOutput(vms, patience);
    for (const closer of closers) closer();
    await Promise.all(files.map((file) => file.flush(patience)));
    for (const file of files) file.close();
    for (const { name, failure } of files) if (failure) throw unwritable(name, failure);
  };
  for (const vm of vms) {
    const path = pattern.replaceAll('%d', String(vm.index));
    try {
      files.push(openOutputFile(path));
    } catch (cause) {
      for (const closer of closers) closer();
      for (const file of files) file.close();
      throw unwritable(path, cause);
    }
    const file = files.at(-1)!;
    file.onFailure((cause) => fail(unwritable(path, cause)));
    closers.push(vm.onConsole(writer(file)));
  }
  return { close };
}

function toLines(vms: readonly FleetVm[], out: Output): SerialOutput {
  const closers = vms.map((vm) => {
    const prefix = `[${vm.index}] `;
    const write = writer(out);
    let held: Promise<void> | undefined;
    const cutter = new LineCutter((line) => {
      held = write(Buffer.concat([Buffer.from(prefix), line, LF]));
    });
    const unsubscribe = vm.onConsole((bytes) => {
      held = undefined;
      cutter.feed(bytes);
      return held;
    });
    return () => {
      unsubscribe();
      cutter.flush();
    };
  });
  return {
    close: async (patience) => {
      await lastOutput(vms, patience);
      for (const closer of closers) closer();
      await out.flush(patience);
    },
  };
}

const LF = Buffer.from('\n');

/**
 * Connects consoles with their target: one VM's bytes as they are, several VMs' lines each with the
 * number of its VM before it.
 * @param out standard output
 * @param fail told when a file cannot be written any more; the caller watches standard output itself
 * @throws PandoError SERIAL_FILE_UNWRITABLE; nothing stays open then
 */
export function connectSerial(
  target: SerialTarget,
  vms: readonly FleetVm[],
  out: Output,
  fail: (error: PandoError) => void,
): SerialOutput {
  if (target.kind === 'null') return { close: () => Promise.resolve() };
  if (target.kind === 'file') return toFiles(vms, target.pattern, fail);
  const [only] = vms;
  if (vms.length !== 1 || only === undefined) return toLines(vms, out);
  const disconnect = only.onConsole(writer(out));
  return {
    close: async (patience) => {
      await lastOutput(vms, patience);
      disconnect();
      await out.flush(patience);
    },
  };
}
