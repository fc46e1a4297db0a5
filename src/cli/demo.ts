/** `pando demo`: four VMs of Debian's kernel on one mapped copy, and what they share. */
import type { Command } from 'commander';
import { DEFAULT_MEMORY, type Makers } from '../fleet/fleet.js';
import { chooseBootImage } from '../image/boot-image.js';
import { USER_SPACE_LINE } from '../image/init-script.js';
import { reportTables } from './report-tables.js';
import { MAKERS } from './run.js';
import { runSession } from './session.js';
import { progressLine } from './terminal/image-progress.js';
import { STANDARD_STREAMS, type Streams } from './terminal/standard-streams.js';
import { styleFor } from './terminal/text-table.js';

const VM_COUNT = 4;
const TIMEOUT_MS = 300_000;

/**
 * @returns the exit status
 * @throws PandoError
 */
export async function demo(
  streams: Streams = STANDARD_STREAMS,
  makers: Makers = MAKERS,
): Promise<number> {
  const style = styleFor(streams.out);
  const progress = progressLine(streams.err);
  const image = await chooseBootImage({}, progress.sink).finally(() => progress.end());
  const title = `${VM_COUNT} VMs on one mapped copy of`;
  streams.out.write(`${style.bold(title)} ${image.kernel}\n`);
  const began = performance.now();
  const { report, complaints, status } = await runSession(
    {
      vm: {
        kernel: image.kernel,
        initrd: image.initrd,
        commandLine: image.commandLine,
        memory: DEFAULT_MEMORY,
      },
      count: VM_COUNT,
      isolate: 'shared',
      serial: { kind: 'null' },
      until: USER_SPACE_LINE,
      timeoutMs: TIMEOUT_MS,
      measure: true,
      lastingProgress: true,
    },
    streams,
    makers,
  );
  if (complaints.length > 0) streams.err.write(`${complaints.join('\n')}\n`);
  if (report !== undefined) {
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    streams.out.write(`\n${reportTables(report, style)}\n`);
    streams.out.write(
      `${VM_COUNT} VMs, accelerator ${report.accelerator}, load ${report.load}: ${seconds} s by the process's clock\n`,
    );
  }
  return status;
}

/** Adds the command to the program. */
export function registerDemoCommand(program: Command): void {
  program
    .command('demo')
    .description('boot four VMs of the Debian image on one mapped copy; show stages and sharing')
    .action(async () => {
      process.exitCode = await demo();
    });
}
