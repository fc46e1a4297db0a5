/** The plots of the benches as drawings: pure functions of their reports. */

import { KIND_TITLES, MEMORY_KINDS } from '../../measure/whereabouts.js';
import { BOOT_STAGES } from '../../run/types.js';
import type { BootReport } from '../boot-series.js';
import type { FootprintReport, GuestMap } from '../footprint-report.js';
import {
  CHARACTER_WIDTH,
  type Drawing,
  FONT_SIZE,
  type Label,
  type Role,
  type Shape,
  ticks,
} from './drawing.js';

const MIB = 2 ** 20;
const SERIES: readonly Role[] = ['series1', 'series2', 'series3', 'series4', 'series5'];
const WIDTH = 960;
const LINE = FONT_SIZE + 6;

const label = (
  x: number,
  y: number,
  text: string,
  anchor: Label['anchor'] = 'start',
  fill: Role = 'text',
): Label => ({ kind: 'text', x, y, text, anchor, fill });

/** Keys in rows, wrapped at the right margin; returns the shapes and where the next thing may begin. */
function legend(
  keys: readonly { readonly text: string; readonly fill: Role }[],
  x: number,
  y: number,
  right: number,
): { shapes: Shape[]; bottom: number } {
  const shapes: Shape[] = [];
  let at = x;
  let line = y;
  for (const { text, fill } of keys) {
    const width = 18 + text.length * CHARACTER_WIDTH + 16;
    if (at > x && at + width > right) {
      at = x;
      line += LINE;
    }
    shapes.push({ kind: 'rectangle', x: at, y: line - 10, width: 12, height: 12, fill });
    shapes.push(label(at + 18, line, text));
    at += width;
  }
  return { shapes, bottom: line + LINE };
}

/** Memory per instance over the number of instances: a panel for each series, stacked by kind. */
export function footprintPlot(report: FootprintReport): Drawing {
  const title = 'USS per instance, MiB, by number of instances';
  const left = 48;
  const right = WIDTH - 12;
  const keys = MEMORY_KINDS.map((kind, index) => ({
    text: KIND_TITLES[kind],
    fill: SERIES[index] ?? 'faint',
  }));
  const head = legend(keys, left, 42, right);
  const shapes: Shape[] = [{ ...label(left, 18, title), bold: true }, ...head.shapes];
  const names = report.series.map((series) => wrap(series.title, 22));
  const nameLines = Math.max(1, ...names.map((lines) => lines.length));
  const top = head.bottom + 4 + nameLines * LINE;
  const bottom = top + 260;
  const perInstance = report.series.flatMap(({ cells }) =>
    cells.map((cell) => stackOf(cell).reduce((sum, value) => sum + value, 0)),
  );
  const scale = ticks(Math.max(1, ...perInstance));
  const highest = scale.at(-1) ?? 1;
  const yOf = (value: number): number => bottom - ((bottom - top) * value) / highest;
  for (const value of scale) {
    shapes.push({
      kind: 'line',
      x1: left,
      y1: yOf(value),
      x2: right,
      y2: yOf(value),
      stroke: 'grid',
    });
    shapes.push(label(left - 6, yOf(value) + 4, String(value), 'end', 'faint'));
  }
  const panel = (right - left) / Math.max(1, report.series.length);
  for (const [index, { cells }] of report.series.entries()) {
    const x = left + index * panel;
    for (const [line, text] of (names[index] ?? []).entries()) {
      const y = head.bottom + (line + 1) * LINE - 4;
      shapes.push(label(x + panel / 2, y, text, 'middle'));
    }
    const slot = (panel - 16) / Math.max(1, cells.length);
    for (const [column, cell] of cells.entries()) {
      const bar = Math.min(34, slot - 6);
      const center = x + 8 + (column + 0.5) * slot;
      let below = 0;
      for (const [kind, value] of stackOf(cell).entries()) {
        shapes.push({
          kind: 'rectangle',
          x: center - bar / 2,
          y: yOf(below + value),
          width: bar,
          height: yOf(below) - yOf(below + value),
          fill: SERIES[kind] ?? 'faint',
          title: `${cell.instances} instances, ${keys[kind]?.text ?? ''}: ${value.toFixed(1)} MiB each`,
        });
        below += value;
      }
      shapes.push(label(center, yOf(below) - 4, below.toFixed(0), 'middle'));
      shapes.push(label(center, bottom + 16, String(cell.instances), 'middle', 'faint'));
    }
  }
  return { title, width: WIDTH, height: bottom + 28, shapes };
}

/** MiB per instance by kind; the kinds' sum is the USS. */
function stackOf(cell: FootprintReport['series'][number]['cells'][number]): number[] {
  return MEMORY_KINDS.map((kind) => cell.kinds[kind] / cell.instances / MIB);
}

/** Words in lines of at most `length` characters, longer words alone. */
export function wrap(text: string, length: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= length) {
      lines[lines.length - 1] = `${last} ${word}`;
    } else lines.push(word);
  }
  return lines;
}

/** The medians of the boot stages as a timeline, a bar for each series. */
export function bootPlot(report: BootReport): Drawing {
  const title = 'Boot stages, ms, medians';
  const left = 12;
  const right = WIDTH - 60;
  const keys = BOOT_STAGES.map((name, index) => ({
    text: `until ${name}`,
    fill: SERIES[index] ?? 'faint',
  }));
  const head = legend(keys, left, 42, right);
  const shapes: Shape[] = [{ ...label(left, 18, title), bold: true }, ...head.shapes];
  const top = head.bottom + 4;
  const row = 46;
  const bottom = top + report.series.length * row;
  const last = report.series.flatMap(({ stages }) => stages.map(({ ms }) => ms.median));
  const scale = ticks(Math.max(1, ...last), 8);
  const highest = scale.at(-1) ?? 1;
  const xOf = (value: number): number => left + ((right - left) * value) / highest;
  for (const value of scale) {
    shapes.push({
      kind: 'line',
      x1: xOf(value),
      y1: top,
      x2: xOf(value),
      y2: bottom,
      stroke: 'grid',
    });
    shapes.push(label(xOf(value), bottom + 16, String(value), 'middle', 'faint'));
  }
  for (const [index, series] of report.series.entries()) {
    const y = top + index * row;
    shapes.push(label(left + 4, y + 15, series.title));
    let from = 0;
    for (const { name, ms } of series.stages) {
      const fill = SERIES[BOOT_STAGES.indexOf(name)] ?? 'faint';
      shapes.push({
        kind: 'rectangle',
        x: xOf(from),
        y: y + 20,
        width: Math.max(1, xOf(ms.median) - xOf(from)),
        height: 18,
        fill,
        title: `${series.title}: ${name} at ${ms.median.toFixed(1)} ms`,
      });
      from = ms.median;
    }
    shapes.push(label(xOf(from) + 6, y + 34, from.toFixed(0)));
  }
  return { title, width: WIDTH, height: bottom + 28, shapes };
}

/** Parts of an image that the map marks, in the order of its legend. */
const PART_ROLES: Readonly<Record<string, Role>> = {
  text: 'series3',
  rodata: 'series4',
  data: 'series5',
  initrd: 'faint',
  'page tables': 'series6',
  'struct page': 'series7',
  'user space': 'series8',
};

/**
 * A guest's RAM from address 0 in rows: each cell's share of own and of shared pages, below a strip that
 * says which part of the image is there. Rows that nobody touched are left out.
 */
export function guestMapPlot(map: GuestMap): Drawing {
  const columns = 128;
  const bytesPerCell = map.pagesPerCell * 4096;
  const bytesPerRow = columns * bytesPerCell;
  const title = `Guest memory, ${map.title}: ${bytesPerRow / MIB} MiB a row, ${bytesPerCell / 1024} KiB a cell`;
  const left = 76;
  const right = WIDTH - 12;
  const cell = (right - left) / columns;
  const head = legend(
    [
      { text: 'own', fill: 'series2' },
      { text: "shared: the file's page", fill: 'series1' },
      { text: 'untouched', fill: 'untouched' },
      ...Object.entries(PART_ROLES)
        .filter(([name]) => map.parts.some((part) => part.name === name))
        .map(([name, fill]) => ({ text: `above: ${name}`, fill })),
    ],
    left,
    42,
    right,
  );
  const shapes: Shape[] = [{ ...label(left, 18, title), bold: true }, ...head.shapes];
  const rule = (x: number, y: number, width: number, height: number, fill: Role): void => {
    if (height > 0 && width > 0) shapes.push({ kind: 'rectangle', x, y, width, height, fill });
  };
  const strip = 4;
  const tall = 14;
  let y = head.bottom;
  let skipped = 0;
  const closeGap = (): void => {
    if (skipped === 0) return;
    shapes.push(
      label(left, y + 10, `${(skipped * bytesPerRow) / MIB} MiB untouched`, 'start', 'faint'),
    );
    y += LINE;
    skipped = 0;
  };
  for (let first = 0; first < map.cells.length; first += columns) {
    const cells = map.cells.slice(first, first + columns);
    if (cells.every(({ own, shared }) => own === 0 && shared === 0)) {
      skipped++;
      continue;
    }
    closeGap();
    const start = first * bytesPerCell;
    shapes.push(label(left - 6, y + strip + 11, `${start / MIB} MiB`, 'end', 'faint'));
    for (const part of map.parts) {
      const role = PART_ROLES[part.name];
      if (role === undefined) continue;
      const from = Math.max(0, (part.start - start) / bytesPerCell);
      const to = Math.min(cells.length, (part.start + part.length - start) / bytesPerCell);
      rule(left + from * cell, y, (to - from) * cell, strip - 1, role);
    }
    rule(left, y + strip, cells.length * cell, tall, 'untouched');
    for (let from = 0, to = 0; from < cells.length; from = to) {
      const at = cells[from]!;
      do to++;
      while (cells[to]?.own === at.own && cells[to]?.shared === at.shared);
      const x = left + from * cell;
      const width = (to - from) * cell;
      const own = at.own * tall;
      const shared = at.shared * tall;
      const bottom = y + strip + tall;
      rule(x, bottom - own, width, own, 'series2');
      rule(x, bottom - own - shared, width, shared, 'series1');
    }
    y += strip + tall + 4;
  }
  closeGap();
  return { title, width: WIDTH, height: y + 8, shapes };
}
