import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type ReportTarget, type RunReport, reportTarget, writeReportFolder } from './report.js';
import { runFiles, runPage } from './run-page.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-page-'));
after(() => rmSync(folder, { recursive: true }));

const report: RunReport = {
  accelerator: 'wasm',
  load: 'map',
  isolate: 'shared',
  outcome: 'until',
  host: { node: 'v20', kernel: '6.1', processor: 'A <fast> one', cores: 2, memory: 2 ** 34 },
  vms: [
    {
      id: 3,
      pid: 77,
      stages: [{ name: 'linux_start_user', ms: 1234.56, source: 'port 0xf4 value 7' }],
      instructions: 1,
      exit: null,
      rip: null,
      memory: {
        parts: [{ part: 'text', total: 9, shared: 4, own: 3, untouched: 2 }],
        source: '/proc/self/pagemap',
        fallbacks: [],
      },
    },
  ],
  processes: [{ pid: 77, uss: 3 * 2 ** 20, pss: 2 ** 22, rss: 2 ** 23, images: [] }],
};
const map = {
  title: 'VM 3',
  pagesPerCell: 32,
  cells: [
    { own: 1, shared: 0 },
    { own: 0, shared: 1 },
  ],
  parts: [{ name: 'text', start: 0, length: 4096 }],
  counts: [{ name: 'text', total: 9, shared: 4, own: 3, untouched: 2 }],
};

test('a path is a folder, a page or a file of measurements', async () => {
  const kind = async (path: string): Promise<ReportTarget['kind']> =>
    (await reportTarget(join(folder, path))).kind;
  mkdirSync(join(folder, 'there.d'));
  writeFileSync(join(folder, 'file'), '');
  assert.equal(await kind('there.d'), 'folder');
  assert.equal(await kind('new'), 'folder');
  assert.equal(await kind('new.d/'), 'folder');
  assert.equal(await kind('file'), 'json', 'a file that is there is written again');
  assert.equal(await kind('run.json'), 'json');
  assert.equal(await kind('run.html'), 'page');
});

test('the page has every figure with its source, and refers to nothing outside', () => {
  const page = runPage(report, [map], 'pando run --append "a & b"');
  for (const text of ['1234.6', 'port 0xf4 value 7', 'VM 3, text', '/proc/PID/pagemap', '3.0']) {
    assert.ok(page.includes(text), text);
  }
  assert.equal(page.match(/<svg /g)?.length, 1);
  assert.ok(page.includes('A &lt;fast&gt; one') && page.includes('a &amp; b'));
  assert.doesNotMatch(page, /(src|href)=/);
});

test('a folder holds the page, the measurements and the maps', async () => {
  const path = join(folder, 'out');
  await writeReportFolder(path, runFiles(report, [map], 'pando run'));
  assert.deepEqual(readdirSync(path).sort(), [
    'guest-memory-0.png',
    'guest-memory-0.svg',
    'run.html',
    'run.json',
  ]);
  assert.deepEqual(JSON.parse(readFileSync(join(path, 'run.json'), 'utf8')), report);
});
