/** The tables of `pando bench`, as plain text. */

import { type Column, formatTable, type Style } from '../cli/terminal/text-table.js';
import { KIND_TITLES, MEMORY_KINDS } from '../measure/whereabouts.js';
import { BOOT_STAGES } from '../run/types.js';
import type { BootReport } from './boot-series.js';
import { increments } from './boot-series.js';
import {
  FOOTPRINT_SOURCES,
  type FootprintReport,
  marginalRows,
  memoryRows,
} from './footprint-report.js';

const left = (title: string): Column => ({ title, align: 'left' });
const right = (title: string): Column => ({ title, align: 'right' });
const MIB = 2 ** 20;
const mib = (bytes: number): string => (Number.isFinite(bytes) ? (bytes / MIB).toFixed(1) : '-');

/** Footprint: per instance, marginal, where it is, guest parts, control area. */
export function footprintTables(report: FootprintReport, style: Style): string {
  const parts: string[] = [];
  const section = (title: string, table: string, note: string): void => {
    parts.push(`${style.bold(title)}\n${table}${style.faint(note)}\n`);
  };
  section(
    'Memory, MiB',
    formatTable(
      [
        left('system'),
        right('instances'),
        right('USS each'),
        right('PSS each'),
        right('USS in all'),
        right('PSS in all'),
        left('still'),
      ],
      memoryRows(report, mib),
      style,
    ),
    FOOTPRINT_SOURCES,
  );
  section(
    'One more instance, MiB',
    formatTable(
      [left('system'), right('USS'), right('PSS'), right("USS beyond the guest's pages")],
      marginalRows(report, mib),
      style,
    ),
    'slope of the straight line through all instance counts, by least squares',
  );
  section(
    'Where an instance is, MiB of USS at the highest count',
    formatTable(
      [left('kind'), ...report.series.map(({ key }) => right(key))],
      MEMORY_KINDS.map((kind) => [
        KIND_TITLES[kind],
        ...report.series.map(({ cells }) => {
          const cell = cells.at(-1);
          return cell === undefined ? '-' : mib(cell.kinds[kind] / cell.instances);
        }),
      ]),
      style,
    ),
    'guest pages and engine state from /proc/PID/pagemap, the rest from /proc/PID/smaps',
  );
  for (const { title, cells } of report.series) {
    const cell = cells.at(-1);
    if (cell === undefined || cell.ram.length === 0) continue;
    section(
      `Pages of a guest: ${title}`,
      formatTable(
        [left('part'), right('pages'), right('shared'), right('own')],
        [...cell.ram, ...cell.control.map((row) => ({ ...row, name: `engine: ${row.name}` }))].map(
          (row) => [row.name, String(row.total), row.shared.toFixed(0), row.own.toFixed(0)],
        ),
        style,
      ),
      "mean of all guests; pages of 4 KiB; shared: a file's own page",
    );
  }
  return parts.join('\n');
}

const ms = (value: number): string => (Number.isFinite(value) ? value.toFixed(1) : '-');

/** Boot stages: absolute, and the increments from stage to stage. */
export function bootTables(report: BootReport, style: Style): string {
  const columns = [left('system'), ...BOOT_STAGES.map((name) => right(name))];
  const absolute = report.series.map((series) => [
    series.title,
    ...BOOT_STAGES.map((name) => {
      const stage = series.stages.find((candidate) => candidate.name === name);
      return stage === undefined ? '-' : `${ms(stage.ms.median)} ± ${ms(stage.ms.spread)}`;
    }),
  ]);
  const relative = report.series.map((series) => [
    series.title,
    ...increments(series).map(({ median }) => (Number.isNaN(median) ? '-' : `+${ms(median)}`)),
  ]);
  const sources = report.series.map((series) =>
    [
      `${series.title}, from ${series.origin}:`,
      ...series.stages.map(({ name, source }) => `  ${name}: ${source}`),
    ].join('\n'),
  );
  return [
    `${style.bold('Boot stages, ms: median ± half the distance of the quartiles')}\n${formatTable(columns, absolute, style)}`,
    `${style.bold("Increments, ms: medians of each run's own")}\n${formatTable(columns, relative, style)}`,
    style.faint(sources.join('\n')),
    '',
  ].join('\n');
}
