/** `pando qemu`: takes the command line of a `qemu-system-x86_64` and boots what it describes. */
import type { Command } from 'commander';
import { parseQemuCommandLine, type QemuRequest } from './qemu-options.js';
import { run } from './run.js';

/** The one note about everything that was not done. */
export function qemuNote({ ignored }: Pick<QemuRequest, 'ignored'>): string {
  if (ignored.length === 0) return '';
  const list = ignored.map(({ word, why }) => `  ${word}: ${why}`).join('\n');
  return `pando qemu: these change nothing for the guest here:\n${list}\n`;
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
      const request = parseQemuCommandLine(words);
      process.stderr.write(qemuNote(request));
      const { kernel, initrd, append } = request;
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
      });
    });
}
