import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRunOptions, type RunFlags } from './run-options.js';

const DEFAULTS: RunFlags = {
  memory: '1G',
  cpus: '1',
  accel: 'auto',
  load: 'map',
  count: '1',
  isolate: 'shared',
};

test('the defaults are one VM of 1 GiB on the interactive console', () => {
  assert.deepEqual(parseRunOptions(DEFAULTS), {
    memory: 1024 ** 3,
    cpus: 1,
    cpu: undefined,
    accelerator: 'auto',
    tier: 'auto',
    load: 'map',
    count: 1,
    isolate: 'shared',
    serial: { kind: 'stdio' },
    until: undefined,
    timeoutMs: undefined,
    report: undefined,
    json: false,
    disks: [],
    rng: false,
    net: undefined,
    reboot: true,
    balloon: undefined,
    diskSize: undefined,
  });
});

test('sizes, numbers and times are taken in their usual forms', () => {
  const parse = (flags: Partial<RunFlags>) => parseRunOptions({ ...DEFAULTS, ...flags });
  assert.equal(parse({ memory: '512M' }).memory, 512 * 1024 ** 2);
  assert.equal(parse({ memory: '1.5GiB' }).memory, 1.5 * 1024 ** 3);
  assert.equal(parse({ memory: '4096' }).memory, 4096);
  assert.equal(parse({ timeout: '0.5' }).timeoutMs, 500);
  assert.equal(parse({ count: '16' }).count, 16);
  assert.deepEqual(parse({ json: true }).serial, { kind: 'null' });
  const pattern = 'vm-%d.log';
  assert.deepEqual(parse({ serial: `file:${pattern}` }).serial, { kind: 'file', pattern });
});

const REFUSED: readonly (readonly [Partial<RunFlags>, string])[] = [
  [{ memory: '1x' }, 'SIZE_INVALID'],
  [{ memory: '-1G' }, 'SIZE_INVALID'],
  [{ memory: '0' }, 'SIZE_INVALID'],
  [{ memory: '' }, 'SIZE_INVALID'],
  [{ memory: '99999999999G' }, 'SIZE_INVALID'],
  [{ memory: '0.3K' }, 'SIZE_INVALID'],
  [{ cpus: '0' }, 'NUMBER_INVALID'],
  [{ count: '1.5' }, 'NUMBER_INVALID'],
  [{ count: '1e3' }, 'NUMBER_INVALID'],
  [{ count: '4097' }, 'NUMBER_INVALID'],
  [{ timeout: '0' }, 'NUMBER_INVALID'],
  [{ timeout: 'soon' }, 'NUMBER_INVALID'],
  [{ timeout: '99999999' }, 'NUMBER_INVALID'],
  [{ accel: 'tcg' }, 'CHOICE_INVALID'],
  [{ load: 'mmap' }, 'CHOICE_INVALID'],
  [{ isolate: 'none' }, 'CHOICE_INVALID'],
  [{ serial: 'tcp' }, 'SERIAL_INVALID'],
  [{ serial: 'file:' }, 'SERIAL_INVALID'],
  [{ serial: 'file:x.log', count: '2' }, 'SERIAL_PATTERN_WITHOUT_NUMBER'],
  [{ until: '' }, 'UNTIL_EMPTY'],
  [{ json: true, serial: 'stdio' }, 'OPTION_CONFLICT'],
  [{ net: 'tap' }, 'CHOICE_INVALID'],
  [{ allow: ['10.0.0.0/8'] }, 'OPTION_CONFLICT'],
  [{ net: 'passt', publish: ['8080:80'] }, 'OPTION_CONFLICT'],
  [{ net: 'user', publish: ['8080:80'], count: '2' }, 'OPTION_CONFLICT'],
];

for (const [flags, code] of REFUSED) {
  test(`${JSON.stringify(flags)} is refused as ${code}`, () => {
    assert.throws(() => parseRunOptions({ ...DEFAULTS, ...flags }), { code });
  });
}

test('a network is none, the gateway with its rules, or passt', () => {
  const parse = (flags: Partial<RunFlags>) => parseRunOptions({ ...DEFAULTS, ...flags }).net;
  assert.equal(parse({ net: 'none' }), undefined);
  assert.deepEqual(parse({ net: 'passt' }), { mode: 'passt' });
  assert.deepEqual(parse({ net: 'user', allow: ['a.test'], deny: ['b.test'] }), {
    mode: 'user',
    publish: [],
    allow: ['a.test'],
    deny: ['b.test'],
  });
});

test('a disk is a file and a mode', () => {
  const parsed = parseRunOptions({ ...DEFAULTS, disk: ['a,b.img,rw', '/dev/sdz,cow'] });
  assert.deepEqual(parsed.disks, [
    { path: 'a,b.img', mode: 'rw' },
    { path: '/dev/sdz', mode: 'cow' },
  ]);
  for (const disk of ['a.img', 'a.img,', ',rw', 'a.img,wr']) {
    assert.throws(() => parseRunOptions({ ...DEFAULTS, disk: [disk] }), { code: 'DISK_INVALID' });
  }
});
