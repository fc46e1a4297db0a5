/** The page of a bench: one self-contained HTML file with its tables, plots, sources and command. */

import { KIND_TITLES, MEMORY_KINDS } from '../measure/whereabouts.js';
import { BOOT_STAGES } from '../run/types.js';
import { type BootReport, increments } from './boot-series.js';
import {
  type BenchHost,
  type BenchSubject,
  FOOTPRINT_SOURCES,
  type FootprintReport,
  marginalRows,
  memoryRows,
} from './footprint-report.js';
import { definitions, htmlPage, plotSection, table } from './page.js';
import { bootPlot, footprintPlot, guestMapPlot } from './plot/charts.js';
import type { Drawing } from './plot/drawing.js';

const MIB = 2 ** 20;

/** A plot with the name of its files. */
export interface NamedPlot {
  readonly name: string;
  readonly drawing: Drawing;
}

/** All plots of a report, in the order of the page. */
export function plotsOf(report: FootprintReport | BootReport): NamedPlot[] {
  if (report.kind === 'boot') return [{ name: 'boot', drawing: bootPlot(report) }];
  return [
    { name: 'footprint', drawing: footprintPlot(report) },
    ...report.maps.map((map, index) => ({
      name: `guest-memory-${report.series[index]?.key ?? index}`,
      drawing: guestMapPlot(map),
    })),
  ];
}

const mib = (bytes: number): string => (Number.isFinite(bytes) ? (bytes / MIB).toFixed(1) : '–');
const ms = (value: number): string => (Number.isFinite(value) ? value.toFixed(1) : '–');

function footprintSections(report: FootprintReport): string[] {
  const last = report.series.map(({ title, cells }) => ({ title, cell: cells.at(-1) }));
  return [
    table(
      'Memory, MiB',
      ['System', 'Instances', 'USS each', 'PSS each', 'USS in all', 'PSS in all', 'Still after'],
      memoryRows(report, mib),
      `${FOOTPRINT_SOURCES}; read when the sum of USS had stayed within 0.2 % for the settling time.`,
    ),
    table(
      'One more instance, MiB',
      ['System', 'USS', 'PSS', "USS beyond the guest's pages"],
      marginalRows(report, mib),
      'slope of the straight line through the table above, by least squares.',
    ),
    table(
      'Where an instance is, MiB of USS at the highest count',
      ['Kind', ...last.map(({ title }) => title)],
      MEMORY_KINDS.map((kind) => [
        KIND_TITLES[kind],
        ...last.map(({ cell }) => (cell ? mib(cell.kinds[kind] / cell.instances) : '–')),
      ]),
      'guest pages and engine state from /proc/PID/pagemap, the rest from /proc/PID/smaps.',
    ),
    ...last.flatMap(({ title, cell }) =>
      cell === undefined || cell.ram.length === 0
        ? []
        : [
            table(
              `Pages of a guest: ${title}`,
              ['Part', 'Pages', 'Shared', 'Own'],
              [
                ...cell.ram,
                ...cell.control
                  .filter(({ total }) => total > 0)
                  .map((row) => ({ ...row, name: `engine: ${row.name}` })),
              ].map((row) => [
                row.name,
                String(row.total),
                row.shared.toFixed(0),
                row.own.toFixed(0),
              ]),
              "/proc/PID/pagemap, mean of all guests, pages of 4 KiB. Shared: a file's own page.",
            ),
          ],
    ),
  ];
}

function bootSections(report: BootReport): string[] {
  return [
    table(
      'Boot stages, ms',
      ['System', 'Stage', 'Median', 'Spread', 'Lowest', 'Highest', 'Runs', 'Seen by'],
      report.series.flatMap((series) =>
        series.stages.map(({ name, ms: summary, source }) => [
          series.title,
          name,
          ms(summary.median),
          `± ${ms(summary.spread)}`,
          ms(summary.lowest),
          ms(summary.highest),
          String(summary.count),
          source,
        ]),
      ),
      report.series.map(({ title, origin }) => `${title}: from ${origin}`).join('; '),
    ),
    table(
      'Increments, ms',
      ['System', ...BOOT_STAGES],
      report.series.map((series) => [
        series.title,
        ...increments(series).map(({ median }) => (Number.isNaN(median) ? '–' : `+${ms(median)}`)),
      ]),
      "medians of each run's own increments, from the table's clocks.",
    ),
  ];
}

function facts(host: BenchHost, subject: BenchSubject): string {
  const rows: (readonly [string, string | null])[] = [
    ['Command', subject.command],
    ['Date', subject.date],
    ['Processor', `${host.processor}, ${host.cores} in use`],
    ['Memory', `${mib(host.memory)} MiB`],
    ['Host kernel', host.kernel],
    ['Node.js', host.node],
    ['Pando', host.pando],
    ['QEMU', host.qemu],
    ['Kernel', subject.kernel],
    ['Initrd', subject.initrd],
    ['Command line', subject.commandLine],
    ['Guest RAM', `${mib(subject.memory)} MiB`],
    ["QEMU's command", subject.qemuCommand],
  ];
  return definitions('Machine, versions, how to run it again', rows);
}

/** The page as text of an HTML file that refers to nothing outside. */
export function reportPage(report: FootprintReport | BootReport): string {
  const title =
    report.kind === 'footprint' ? 'Pando: memory of many VMs' : 'Pando: boot time of a VM';
  const plots = plotsOf(report).map(({ drawing }) => plotSection(drawing));
  const sections = report.kind === 'footprint' ? footprintSections(report) : bootSections(report);
  return htmlPage(title, report.kind, [
    plots[0] ?? '',
    ...sections,
    ...plots.slice(1),
    facts(report.host, report.subject),
  ]);
}
