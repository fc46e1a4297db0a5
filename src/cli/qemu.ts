/** `pando qemu`: takes the command line of a `qemu-system-x86_64` and boots what it describes. */
import { rmSync, writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { type AcceleratorProbe, probeAccelerators } from '../run/accelerators.js';
import { parseQemuCommandLine, type QemuRequest, WASM_INSTEAD } from './qemu-options.js';
import { run } from './run.js';
import { STANDARD_STREAMS } from './terminal/standard-streams.js';

/** The one note about everything that was not done. */
export function qemuNote({ ignored }: Pick<QemuRequest, 'ignored'>): string {
  if (ignored.length === 0) return '';
  const list = ignored.map(({ word, why }) => `  ${word}: ${why}`).join('\n');
  return `pando qemu: these change nothing for the guest here:\n${list}\n`;
}

/** A request for KVM, where it is not KVM that runs the guest, is one more thing that was not done. */
export function withAccelerator(
  request: QemuRequest,
  { choice, reason }: Pick<AcceleratorProbe, 'choice' | 'reason'>,
): QemuRequest {
  if (request.accelerator !== 'auto' || choice === 'kvm') return request;
  const note = { word: `accel=${request.accelerators}`, why: `${WASM_INSTEAD}: ${reason}` };
  return { ...request, ignored: [...request.ignored, note] };
}

/** Adds the command to the program. */
export function registerQemuCommand(program: Command): void {
  program
    .command('qemu')
    .description("boot what a qemu-system-x86_64 command line describes, in QEMU's own options")
    .usage('-kernel FILE [-initrd FILE] [-append TEXT] [-m SIZE] [-serial stdio] ...')
    .allowUnknownOption()
    .helpOption('--help', 'show this help')
    .argument('[words...]')
    .action(async (words: string[]) => {
      const parsed = parseQemuCommandLine(words);
      const request =
        parsed.accelerator === 'auto' ? withAccelerator(parsed, probeAccelerators()) : parsed;
      STANDARD_STREAMS.err.write(qemuNote(request));
      const { kernel, initrd, append, pidFile } = request;
      if (pidFile !== undefined) {
        writeFileSync(pidFile, `${process.pid}\n`);
        process.once('exit', () => rmSync(pidFile, { force: true }));
      }
      process.exitCode = await run({
        kernel,
        ...(initrd === undefined ? {} : { initrd }),
        ...(append === undefined ? {} : { append }),
        memory: String(request.memory),
        cpus: String(request.cpus),
        accel: request.accelerator,
        load: 'map',
        count: '1',
        isolate: 'shared',
        serial: request.serial,
        reboot: request.reboot,
      });
    });
}
