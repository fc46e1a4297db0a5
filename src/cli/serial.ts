/** Where the guests' serial consoles go: `--serial stdio|file:PATTERN|null`. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { PandoError } from '../error.js';
import type { FleetVm } from '../fleet/fleet-vm.js';
import { LineCutter } from './terminal/console-lines.js';

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

/** Consoles that are connected; `close` flushes and disconnects them. */
export interface SerialOutput {
  close(): void;
}

function openFile(path: string): number {
  try {
    return openSync(path, 'w');
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw new PandoError('SERIAL_FILE_UNWRITABLE', `serial console file ${path}: ${reason}`, {
      remedy: 'name a file in a folder that exists and that you may write',
      cause,
    });
  }
}

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}

function toFiles(machines: readonly FleetVm[], pattern: string): SerialOutput {
  const files: number[] = [];
  const closers: (() => void)[] = [];
  const close = (): void => {
    for (const closer of closers) closer();
    for (const fd of files) closeSync(fd);
  };
  try {
    for (const machine of machines) {
      const fd = openFile(pattern.replaceAll('%d', String(machine.index)));
      files.push(fd);
      closers.push(machine.onConsole((bytes) => writeAll(fd, bytes)));
    }
  } catch (cause) {
    close();
    throw cause;
  }
  return { close };
}

function toLines(machines: readonly FleetVm[], out: (bytes: Uint8Array) => void): SerialOutput {
  const closers = machines.map((machine) => {
    const prefix = `[${machine.index}] `;
    const cutter = new LineCutter((line) => out(Buffer.concat([Buffer.from(prefix), line, LF])));
    const unsubscribe = machine.onConsole((bytes) => cutter.feed(bytes));
    return () => {
      unsubscribe();
      cutter.flush();
    };
  });
  return {
    close: () => {
      for (const closer of closers) closer();
    },
  };
}

const LF = Buffer.from('\n');

/**
 * Connects consoles with their target: one VM's bytes as they are, several VMs' lines each with the
 * number of its VM before it.
 * @param out standard output
 * @throws PandoError SERIAL_FILE_UNWRITABLE; nothing stays open then
 */
export function connectSerial(
  target: SerialTarget,
  machines: readonly FleetVm[],
  out: (bytes: Uint8Array) => void,
): SerialOutput {
  if (target.kind === 'null') return { close: () => undefined };
  if (target.kind === 'file') return toFiles(machines, target.pattern);
  const [only] = machines;
  if (machines.length !== 1 || only === undefined) return toLines(machines, out);
  return { close: only.onConsole(out) };
}
