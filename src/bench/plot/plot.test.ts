import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inflateSync } from 'node:zlib';
import { type BootReport, summariseRuns } from '../boot-series.js';
import type { FootprintReport } from '../footprint-report.js';
import { marginalBeyondGuest, marginalCost } from '../footprint-report.js';
import { plotsOf, reportPage } from '../report-page.js';
import { bootPlot, footprintPlot, guestMapPlot, wrap } from './charts.js';
import { type Drawing, PALETTE, ticks } from './drawing.js';
import { toPng } from './png.js';
import { toSvg } from './svg.js';

const MIB = 2 ** 20;

const cell = (instances: number, guest: number, heap: number) => ({
  instances,
  uss: (guest + heap) * MIB,
  pss: (guest + heap) * MIB,
  rss: 0,
  kinds: { guest: guest * MIB, image: 0, engine: 0, code: 0, heap: heap * MIB },
  processes: [],
  ram: [{ name: 'text', total: 100, shared: 90.4, own: 9.6 }],
  control: [],
  settled: 3,
  still: true,
});

const common = {
  host: {
    processor: 'A <fast> one',
    cores: 2,
    memory: 2 ** 34,
    kernel: '6.1',
    node: 'v20',
    pando: '1',
    qemu: null,
  },
  subject: {
    command: "pando bench --append 'a & b'",
    kernel: '/k',
    initrd: null,
    commandLine: 'a & b',
    memory: 2 ** 30,
    qemuCommand: null,
    date: '2026-01-01T00:00:00.000Z',
  },
};

const footprint: FootprintReport = {
  kind: 'footprint',
  ...common,
  series: [
    {
      key: 'pando-shared-map',
      title: 'Pando wasm, one process, images mapped',
      system: 'pando',
      accelerator: 'wasm',
      load: 'map',
      isolate: 'shared',
      cells: [cell(1, 60, 40), cell(2, 120, 44), cell(4, 240, 52)],
    },
  ],
  maps: [{ title: 'Pando', pagesPerCell: 64, cells: [{ own: 1, shared: 0 }], parts: [] }],
};

const runs = [{ vmm_init_end: 10, linux_start_kernel: 40, linux_start_user: 400 }];
const boot: BootReport = {
  kind: 'boot',
  ...common,
  series: [
    {
      ...footprint.series[0]!,
      process: 'cold',
      origin: 'the start',
      runs,
      stages: summariseRuns(runs, { vmm_init_end: 'first vCPU entry' }),
    },
  ],
};

/** Pixel of a PNG of `toPng`, as #rrggbb. */
function pixel(png: Buffer, x: number, y: number): string {
  const width = png.readUInt32BE(16);
  const start = png.indexOf('IDAT') + 4;
  const rows = inflateSync(png.subarray(start, start + png.readUInt32BE(start - 8)));
  const at = y * (width * 3 + 1) + 1 + x * 3;
  return `#${rows.subarray(at, at + 3).toString('hex')}`;
}

test('ticks are round, few, and reach the highest value', () => {
  assert.deepEqual(ticks(223), [0, 50, 100, 150, 200, 250]);
  assert.deepEqual(ticks(0.9, 3), [0, 0.5, 1]);
  assert.deepEqual(ticks(100, 5), [0, 20, 40, 60, 80, 100]);
  assert.deepEqual(ticks(0), [0, 1]);
});

test('long titles are wrapped between words', () => {
  assert.deepEqual(wrap('Pando wasm, one process, images', 12), [
    'Pando wasm,',
    'one process,',
    'images',
  ]);
});

test('marginal costs are slopes', () => {
  const { cells } = footprint.series[0]!;
  assert.equal((marginalCost(cells, 'uss') / MIB).toFixed(6), '64.000000');
  assert.equal((marginalBeyondGuest(cells) / MIB).toFixed(6), '4.000000');
});

test('the bars of the footprint are as high as their values', () => {
  const { shapes } = footprintPlot(footprint);
  const bars = shapes.flatMap((shape) =>
    shape.kind === 'rectangle' && shape.title ? [shape] : [],
  );
  const guest = bars.find(({ title }) => title?.startsWith('1 instances, guest'));
  const heap = bars.find(({ title }) => title?.startsWith('1 instances, heap'));
  assert.ok(guest && heap);
  assert.equal((guest.height / heap.height).toFixed(6), '1.500000');
  assert.equal((heap.y + heap.height).toFixed(6), guest.y.toFixed(6), 'stacked');
});

test('the boot timeline ends where user space begins', () => {
  const { shapes } = bootPlot(boot);
  const bars = shapes.flatMap((shape) =>
    shape.kind === 'rectangle' && shape.title ? [shape] : [],
  );
  assert.deepEqual(
    bars.map(({ width }) => (width / bars[0]!.width).toFixed(3)),
    ['1.000', '3.000', '36.000'],
  );
});

test('a cell of the map is filled by its share of own and shared pages', () => {
  const { shapes } = guestMapPlot({ ...footprint.maps[0]!, cells: [{ own: 0.25, shared: 0.5 }] });
  const height = (role: string): number => {
    const found = shapes
      .filter((shape) => shape.kind === 'rectangle' && shape.fill === role)
      .at(-1);
    return found?.kind === 'rectangle' ? found.height : 0;
  };
  assert.equal((height('series2') / height('untouched')).toFixed(6), '0.250000');
  assert.equal((height('series1') / height('untouched')).toFixed(6), '0.500000');
});

test('the PNG has the drawing at two pixels each', () => {
  const drawing: Drawing = {
    title: 'x',
    width: 20,
    height: 12,
    shapes: [
      { kind: 'rectangle', x: 2, y: 2, width: 4, height: 4, fill: 'series1' },
      { kind: 'line', x1: 0, y1: 8, x2: 20, y2: 8, stroke: 'text' },
      { kind: 'text', x: 12, y: 7, text: '-', anchor: 'start', fill: 'text' },
    ],
  };
  const png = toPng(drawing);
  assert.deepEqual([png.readUInt32BE(16), png.readUInt32BE(20)], [40, 24]);
  assert.equal(pixel(png, 4, 4), PALETTE.series1.light);
  assert.equal(pixel(png, 11, 11), PALETTE.series1.light);
  assert.equal(pixel(png, 12, 12), PALETTE.surface.light);
  assert.equal(pixel(png, 30, 16), PALETTE.text.light);
  assert.equal(pixel(png, 24, 6), PALETTE.text.light, 'the dash, four dots above the baseline');
  assert.equal(pixel(png, 24, 2), PALETTE.surface.light);
});

test('SVG and page escape what they are given, refer to nothing outside, show sources', () => {
  const svg = toSvg({ title: 'a<b', width: 1, height: 1, shapes: [] }, true);
  assert.match(svg, /aria-label="a&lt;b"/);
  for (const report of [footprint, boot]) {
    const page = reportPage(report);
    assert.match(page, /A &lt;fast&gt; one/);
    assert.match(page, /--append &#39;a &amp; b&#39;|--append 'a &amp; b'/);
    assert.doesNotMatch(page, /(src|href)=/);
    assert.equal(page.match(/<table>/g)?.length, page.match(/Source: /g)?.length);
  }
  assert.match(reportPage(boot), /first vCPU entry/);
  assert.deepEqual(
    plotsOf(footprint).map(({ name }) => name),
    ['footprint', 'guest-memory-pando-shared-map'],
  );
});
