import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { PandoError } from '../error.js';
import type { Agent } from './agent/agent.js';
import { HostAgent } from './agent/testing/host-agent.js';
import { checkName, copyIn, copyOut } from './copy.js';

const host = new HostAgent();
after(() => host.close());
const at = (...names: string[]) => join(host.folder, ...names);
const coded = (code: string) => (error: unknown) =>
  error instanceof PandoError && error.code === code;

test('folders go both ways with modes, without links', async () => {
  mkdirSync(at('from/inner'), { recursive: true });
  writeFileSync(at('from/inner/program'), 'text', { mode: 0o750 });
  symlinkSync('/etc/passwd', at('from/link'));
  for (const [copy, from, to] of [
    [copyIn, at('from'), at('in')],
    [copyOut, at('from'), at('out')],
  ] as const) {
    await copy(host.agent, from, to);
    assert.deepEqual(readdirSync(to), ['inner']);
    assert.equal(readFileSync(join(to, 'inner/program'), 'utf8'), 'text');
    assert.equal(statSync(join(to, 'inner/program')).mode & 0o777, 0o750);
  }
  await copyOut(host.agent, at('from/inner/program'), at('file'));
  assert.equal(readFileSync(at('file'), 'utf8'), 'text');
});

test('names that lead elsewhere are refused', async () => {
  for (const name of ['', '.', '..', '../x', '/etc', 'a/b', 'a\0b']) {
    assert.throws(() => checkName(name), coded('COPY_NAME'), name);
  }
  assert.equal(checkName('..a b'), '..a b');
  const lying = {
    stat: async () => ({ kind: 'directory', mode: 0o755 }),
    async *list() {
      yield { kind: 'file', mode: 0o644, path: '../escaped' };
    },
  } as unknown as Agent;
  await assert.rejects(copyOut(lying, '/', at('jail')), coded('COPY_NAME'));
  assert.equal(existsSync(at('escaped')), false);
});

test('links at the target are not followed', async () => {
  mkdirSync(at('elsewhere'));
  mkdirSync(at('trap'));
  symlinkSync(at('elsewhere'), at('trap/inner'));
  await assert.rejects(copyOut(host.agent, at('from'), at('trap')), coded('COPY_TARGET'));
  assert.deepEqual(readdirSync(at('elsewhere')), []);
  writeFileSync(at('kept'), 'kept');
  symlinkSync(at('kept'), at('lure'));
  await assert.rejects(copyOut(host.agent, at('from/inner/program'), at('lure')), {
    code: 'ELOOP',
  });
  assert.equal(readFileSync(at('kept'), 'utf8'), 'kept');
});
