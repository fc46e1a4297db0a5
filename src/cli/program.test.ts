import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { PandoError } from '../error.js';
import { VERSION } from '../version.js';
import { failure } from './program.js';

const LAUNCHER = fileURLToPath(new URL('../../bin/pando.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'pando-program-'));
after(() => rmSync(folder, { recursive: true }));

function pando(...words: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [LAUNCHER, ...words], {
    encoding: 'utf8',
    env: { ...process.env, PANDO_STORE: join(folder, 'store') },
  });
  return { status, stdout, stderr };
}

const notElf = join(folder, 'not-a-kernel');
writeFileSync(notElf, 'neither ELF nor bzImage');

const REFUSED: readonly (readonly [readonly string[], number, RegExp])[] = [
  [['fly'], 2, /^USAGE: unknown command 'fly' \(see `pando --help`\)\n$/],
  [['run', '--memry', '1G'], 2, /^USAGE: .*--memry.* \(see `pando run --help`\)\n$/],
  [['run', '--memory', '1x'], 1, /^SIZE_INVALID: .*\n$/],
  [['run', '--kernel', join(folder, 'none')], 1, /^FILE_NOT_FOUND: .*none.*\n$/],
  [['run', '--kernel', notElf], 1, /^[A-Z_]+: .*neither ELF nor bzImage.*\n$/],
  [['run', '--kernel', notElf, '--isolate', 'process', '--count', '4'], 1, /^[A-Z_]+: .*\n$/],
  [['run', '--kernel', notElf, '--report', join(folder, 'none', 'r')], 1, /^REPORT_UNWRITABLE: /],
  [['run', '--kernel', notElf, '--image', 'debian'], 1, /^OPTION_CONFLICT: /],
  [['run', '--image', 'absent'], 1, /^IMAGE_NOT_FOUND: .*\n$/],
];

for (const [words, status, line] of REFUSED) {
  const shown = words.map((word) => word.replace(folder, 'DIR')).join(' ');
  test(`pando ${shown}: one line, status ${status}`, () => {
    const result = pando(...words);
    assert.equal(result.stdout, '');
    assert.match(result.stderr, line);
    assert.equal(result.status, status);
  });
}

test('version and help are given with status 0, a bare command shows the help', () => {
  assert.deepEqual(pando('--version'), { status: 0, stdout: `${VERSION}\n`, stderr: '' });
  const help = pando('run', '--help');
  assert.equal(help.status, 0);
  for (const option of ['--kernel', '--append', '--isolate', '--until', '--report']) {
    assert.ok(help.stdout.includes(option), option);
  }
  assert.match(pando().stdout, /Usage: pando/);
});

test('doctor gives JSON that a program can read', () => {
  const { status, stdout } = pando('doctor', '--json');
  assert.equal(status, 0);
  const answer = JSON.parse(stdout) as { node: string; pageSize: number; findings: unknown[] };
  assert.equal(answer.node, process.version);
  assert.equal(answer.pageSize, 4096);
  assert.ok(answer.findings.length >= 5);
});

test('a PandoError is one line, anything else a stack trace', () => {
  const known = new PandoError('SOME_CODE', 'what went wrong', { remedy: 'cure' });
  assert.deepEqual(failure(known), { text: 'SOME_CODE: what went wrong (cure)', status: 1 });
  const bug = failure(new TypeError('x is undefined'));
  assert.equal(bug.status, 70);
  assert.match(bug.text, /^TypeError: x is undefined\n +at /);
});
