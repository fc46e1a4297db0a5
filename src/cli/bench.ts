/** `pando bench`: footprint and boot time, beside QEMU's in the same run. */
import { join } from 'node:path';
import type { Command } from 'commander';
import { benchBoot } from '../bench/boot.js';
import type { BootReport } from '../bench/boot-series.js';
import { type CompareFlags, compareResults } from '../bench/compare.js';
import { benchFootprint } from '../bench/footprint.js';
import type { FootprintReport } from '../bench/footprint-report.js';
import type { BenchFlags, BootFlags, FootprintFlags } from '../bench/options.js';
import { toPng } from '../bench/plot/png.js';
import { toSvg } from '../bench/plot/svg.js';
import { plotsOf, reportPage } from '../bench/report-page.js';
import { bootTables, footprintTables } from '../bench/tables.js';
import type { ProgressSink } from '../image/progress.js';
import {
  checkReportFile,
  makeReportFolder,
  type ReportFile,
  writeReport,
  writeReportFolder,
  writtenLine,
} from './report.js';
import { commandText } from './terminal/command-text.js';
import { progressLine } from './terminal/image-progress.js';
import { STANDARD_STREAMS } from './terminal/standard-streams.js';
import { styleFor } from './terminal/text-table.js';

type Report = FootprintReport | BootReport;

/** The files of a folder: the page, and its plots as SVG and PNG. */
function reportFiles(report: Report): ReportFile[] {
  return [
    [`${report.kind}.html`, reportPage(report)],
    ...plotsOf(report).flatMap(({ name, drawing }): ReportFile[] => [
      [`${name}.svg`, toSvg(drawing, true)],
      [`${name}.png`, toPng(drawing)],
    ]),
  ];
}

/** Measures, prints the tables, writes what was asked for. */
async function bench(
  flags: BenchFlags,
  measure: (command: string, say: ProgressSink) => Promise<Report>,
): Promise<void> {
  if (flags.json !== undefined) await checkReportFile(flags.json);
  if (flags.report !== undefined) {
    await makeReportFolder(flags.report);
    await checkReportFile(join(flags.report, 'page'));
  }
  const { out, err } = STANDARD_STREAMS;
  const progress = progressLine(err);
  const command = commandText(process.argv.slice(2));
  const report = await measure(command, progress.sink).finally(() => progress.end());
  const style = styleFor(out);
  const tables =
    report.kind === 'footprint' ? footprintTables(report, style) : bootTables(report, style);
  out.write(tables);
  if (flags.json !== undefined) {
    await writeReport(flags.json, `${JSON.stringify(report, null, 2)}\n`);
    err.write(writtenLine(flags.json));
  }
  if (flags.report !== undefined) {
    const files = reportFiles(report);
    await writeReportFolder(flags.report, files);
    err.write(writtenLine(flags.report, files));
  }
}

function common(command: Command): Command {
  return command
    .option('--kernel <file>', 'kernel: ELF with a PVH note, or bzImage')
    .option('--initrd <file>', 'initial RAM disk that writes 7 to port 0xf4 when user space runs')
    .option('--image <name>', 'image of the store (default: debian)')
    .option('--append <text>', "kernel command line; after the image's own without --kernel")
    .option('--memory <size>', 'guest RAM', '1G')
    .option('--load <list>', 'how images are loaded: map, read', 'map,read')
    .option('--accel <name>', 'accelerator of both sides: auto, kvm or wasm', 'auto')
    .option('--tier <n>', 'wasm: 0 interprets, 1 also translates hot code', 'auto')
    .option('--no-deduplicate', 'do not deduplicate pages that guests write, to see mapping alone')
    .option('--against <peer>', 'measure a peer in the same run: qemu')
    .option('--timeout <seconds>', 'give up a boot after this time', '600')
    .option('--json <file>', 'write the measurements as JSON')
    .option('--report <folder>', 'write a page with tables and plots');
}

/** Adds the command to the program. */
export function registerBenchCommand(program: Command): void {
  const command = program.command('bench').description('footprint and boot time, beside QEMU');
  common(command.command('footprint'))
    .description('boot N VMs, wait until their memory is still, say what they cost and where it is')
    .option('--instances <list>', 'how many VMs', '1,2,4,8,16')
    .option(
      '--isolate <list>',
      'shared: all VMs in one process; process: one each',
      'shared,process',
    )
    .option('--settle <seconds>', 'how long memory must have been still', '3')
    .action((flags: FootprintFlags) =>
      bench(flags, (text, say) => benchFootprint(flags, text, say)),
    );
  common(command.command('boot'))
    .description('boot one VM at a time and say when each stage came')
    .option('--runs <number>', 'boots of each system', '10')
    .option('--until <stage>', 'the stage at which a boot is over', 'linux_start_user')
    .action((flags: BootFlags) => bench(flags, (text, say) => benchBoot(flags, text, say)));
  command
    .command('compare')
    .description('two results that --json wrote, figure by figure')
    .argument('<first>')
    .argument('<second>')
    .option('--within <percent>', 'fail when a figure differs by more')
    .action((first: string, second: string, flags: CompareFlags) =>
      compareResults([first, second], flags, styleFor(STANDARD_STREAMS.out), (text) =>
        STANDARD_STREAMS.out.write(text),
      ),
    );
}
