import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PandoError } from '../error.js';
import type { HostCapabilities } from '../measure/capabilities.js';
import type { AcceleratorProbe } from '../run/accelerators.js';
import { demoText } from './demo.js';
import { clonesText } from './demo-clones.js';
import { findings, findingsTable } from './doctor.js';
import type { RunReport } from './report.js';
import { reportTables } from './report-tables.js';
import { LiveLines } from './terminal/live-lines.js';
import { formatTable, styleFor } from './terminal/text-table.js';

const PLAIN = styleFor({ isTTY: false });

test('columns are as wide as their widest cell; figures stand right', () => {
  const columns = [
    { title: 'part', align: 'left' },
    { title: 'own', align: 'right' },
  ] as const;
  const rows = [
    ['text', '5'],
    ['initrd', '12345'],
  ];
  assert.equal(formatTable(columns, rows, PLAIN), 'part      own\ntext        5\ninitrd  12345\n');
});

test('colours are for terminals, unless NO_COLOR is set', () => {
  assert.equal(styleFor({ isTTY: true }, {}).bold('x'), '\u001b[1mx\u001b[0m');
  assert.equal(styleFor({ isTTY: true }, { NO_COLOR: '1' }).bold('x'), 'x');
  assert.equal(styleFor({}, {}).bold('x'), 'x');
});

test('live lines are drawn in place, cut to the width, and absent from a pipe', () => {
  const draw = (isTTY: boolean): string => {
    let text = '';
    const lines = new LiveLines({
      isTTY,
      columns: 5,
      write: (more) => {
        text += more;
      },
    });
    lines.show(['abcdefgh', 'b']);
    lines.show(['c']);
    return text;
  };
  assert.equal(draw(false), '');
  assert.equal(
    draw(true),
    '\r\u001b[2Kabcd\n\r\u001b[2Kb\n\u001b[2A\r\u001b[2Kc\n\r\u001b[2K\n\u001b[1A',
  );
});

test('the tables show stages, pages by VM and in all, and figures by process', () => {
  const part = { part: 'text', total: 100, shared: 60, own: 10, untouched: 30 } as const;
  const memory = { parts: [part], source: 'a test', fallbacks: ['initrd: why it was read'] };
  const stage = { name: 'linux_start_kernel', ms: 1234.4, source: 'port 0xf4' } as const;
  const vm = { pid: 7, instructions: 5_000_000, exit: null, rip: '0x0', memory };
  const report: RunReport = {
    accelerator: 'wasm',
    load: 'map',
    isolate: 'shared',
    outcome: 'until',
    host: { node: 'v20', kernel: '6', processor: 'p', cores: 2, memory: 1 },
    vms: [
      { ...vm, id: 0, stages: [stage] },
      { ...vm, id: 1, stages: [] },
    ],
    processes: [{ pid: 7, uss: 1048576, pss: 2097152, rss: 3145728, images: [] }],
  };
  const demo = demoText(report, PLAIN);
  assert.match(demo, /^2 Linux guests have booted from one mapped copy.*\n86 % of the kernel and/);
  assert.match(demo, /The guests take 2\.0 MiB together, 1\.0 MiB each\.\n\n/);
  assert.match(demo, /^VM 0 +- +60 +10$/m);
  assert.ok(demo.split('\n').length < 15);
  const cost = { how: 'cloned', count: 2, ready: 1234, memory: 3 << 20 };
  const clones = clonesText({ outputs: ['a', 'b'], cost }, [cost], PLAIN);
  assert.match(clones, /^2 clones of a template.*\n\n {2}a\n {2}b\n\n/);
  assert.match(clones, /^cloned +2 +1\.23 s +3\.0 MiB$/m);
  const text = reportTables(report, PLAIN);
  assert.match(text, /^0 +- +1234 ms +- +5,000,000 +running$/m);
  assert.match(text, /^all +text +200 +120 +20 +60$/m);
  assert.match(text, /^7 +VM 0, 1 +1\.0 MiB +2\.0 MiB +3\.0 MiB$/m);
  assert.match(text, /^initrd: why it was read$/m);
  assert.match(text, /linux_start_kernel: port 0xf4/);
});

const HOST: HostCapabilities = {
  pageSize: 4096,
  imageMapping: { works: true },
  sealing: { works: true },
  zeroPage: { works: true },
  memory: { total: 8 * 1024 ** 3, available: 4 * 1024 ** 3, limit: undefined },
  kvm: {
    present: false,
    apiVersion: undefined,
    usable: { works: false, why: '/dev/kvm does not exist' },
  },
};

const ACCELERATORS: AcceleratorProbe = {
  kvm: { works: false, error: new PandoError('KVM_MISSING', '/dev/kvm does not exist') },
  choice: 'wasm',
  reason: 'kvm does not work: /dev/kvm does not exist',
};

test('doctor names what does not work, why, and what follows', () => {
  const usual = findings(HOST, ACCELERATORS, 'v20.20.2');
  assert.deepEqual(
    usual.filter(({ works }) => !works).map(({ subject, found }) => [subject, found]),
    [['KVM', '/dev/kvm does not exist']],
  );
  const poor = findings(
    { ...HOST, imageMapping: { works: false, why: 'mmap: ENODEV' } },
    ACCELERATORS,
    'v18.19.0',
  );
  const text = findingsTable(poor, PLAIN);
  assert.match(text, /^no +Node\.js +v18\.19\.0 +Pando needs version 20 or later$/m);
  assert.match(text, /^no +KVM +.* +--accel auto is wasm: kvm does not work/m);
  assert.match(text, /^no +image mapping +mmap: ENODEV +images are read/m);
  assert.match(text, /^yes +memory +4096\.0 MiB available of 8192\.0 MiB/m);
});
