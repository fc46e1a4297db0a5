import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { BytesSource } from '../loader/byte-source.js';
import { readInitrd } from '../loader/cpio.js';
import { formatLaunch, type Launch, launchInitrd, launchOf } from './launch.js';

const CONFIG = {
  entrypoint: ['/entry', 'point'],
  cmd: ['default'],
  env: ['A=b c'],
  user: 'www',
  workdir: '/srv',
  exposedPorts: [],
  labels: {},
};
const LAUNCH: Launch = {
  ...{ arguments: ['/bin/a', ''], environment: ['É=ü'], user: '', directory: '/', terminal: true },
};

describe('what a guest runs', () => {
  it('is the entrypoint with the image’s command, or with the words given', () => {
    assert.deepEqual(launchOf('i', CONFIG, [], false).arguments, ['/entry', 'point', 'default']);
    assert.deepEqual(launchOf('i', CONFIG, ['x', 'y z'], true), {
      arguments: ['/entry', 'point', 'x', 'y z'],
      ...{ environment: ['A=b c'], user: 'www', directory: '/srv', terminal: true },
    });
    assert.throws(() => launchOf('i', { ...CONFIG, entrypoint: [], cmd: [] }, [], false), {
      code: 'COMMAND_MISSING',
    });
  });

  it('stands on the device as whole pages of strings', () => {
    const bytes = Buffer.from(formatLaunch(LAUNCH));
    assert.equal(bytes.length, 4096);
    assert.equal(bytes.toString('latin1', 0, 8), 'pandorun');
    const length = bytes.readUInt32LE(12);
    assert.equal(bytes.toString('utf8', 16, 16 + length), 'a/bin/a\0a\0eÉ=ü\0u\0d/\0t\0');
    const long = formatLaunch({ ...LAUNCH, arguments: ['x'.repeat(5000)] });
    assert.equal(long.length, 8192);
  });

  it('is refused when it cannot be told', () => {
    for (const word of ['a\0b', 'x'.repeat(9 << 20)]) {
      assert.throws(() => formatLaunch({ ...LAUNCH, arguments: [word] }), {
        code: 'COMMAND_INVALID',
      });
    }
  });

  it('is run by the only program of the initrd', () => {
    const names = [...readInitrd(new BytesSource(launchInitrd()), 1 << 24)].map(({ name }) => name);
    assert.deepEqual(names, ['dev', 'proc', 'sys', 'dev/console', 'init']);
    const program = fileURLToPath(new URL('../../agent/pando-launch', import.meta.url));
    const { status, stderr } = spawnSync(program, { encoding: 'utf8' });
    assert.deepEqual([status, stderr], [125, 'pando-launch is the first process of a guest\n']);
  });
});
