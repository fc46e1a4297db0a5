/** The completion scripts, each in its shell where that is installed, and the manual page. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const PROGRAM = fileURLToPath(new URL('../../bin/pando.js', import.meta.url));

function has(program: string): boolean {
  return spawnSync(program, ['--version']).status === 0;
}

function completionOf(shell: string): string {
  const { stdout, status } = spawnSync(process.execPath, [PROGRAM, 'completion', shell], {
    encoding: 'utf8',
  });
  assert.equal(status, 0);
  return stdout;
}

/** What a shell offers after words; the last one is being typed. */
const OFFERS: Readonly<Record<string, (script: string, words: readonly string[]) => string[]>> = {
  bash: (script, words) => {
    const line = `COMP_WORDS=(${words.join(' ')} ${words.at(-1) === '' ? "''" : ''})
      COMP_CWORD=${words.length - 1}; _pando; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return lines(spawnSync('bash', ['-c', `${script}\n${line}`], { encoding: 'utf8' }));
  },
  fish: (script, words) => {
    const line = `complete -C ${JSON.stringify(words.join(' '))} | string split -f1 \\t`;
    return lines(spawnSync('fish', ['-N', '-c', `${script}\n${line}`], { encoding: 'utf8' }));
  },
};

function lines({ stdout, stderr }: { stdout: string; stderr: string }): string[] {
  assert.equal(stderr, '');
  return stdout.trimEnd().split('\n').sort();
}

for (const [shell, offers] of Object.entries(OFFERS)) {
  test(`${shell} completes commands and options`, { skip: !has(shell) }, () => {
    const script = completionOf(shell);
    assert.deepEqual(offers(script, ['pando', 'im']), ['image']);
    assert.deepEqual(offers(script, ['pando', 'image', 'p']), ['prune', 'pull']);
    assert.deepEqual(offers(script, ['pando', 'run', '--kern']), ['--kernel']);
    assert.deepEqual(offers(script, ['pando', 'image', 'ls', '--js']), ['--json']);
  });
}

test('zsh takes its script', { skip: !has('zsh') }, () => {
  const script = `autoload -U compinit; compinit -D\n${completionOf('zsh')}\nwhence _pando`;
  const { stdout, stderr } = spawnSync('zsh', ['-f', '-c', script], { encoding: 'utf8' });
  assert.deepEqual([stdout, stderr], ['_pando\n', '']);
});

test('a shell that is not known is a wrong command line', () => {
  const { status, stderr } = spawnSync(process.execPath, [PROGRAM, 'completion', 'tcl'], {
    encoding: 'utf8',
  });
  assert.equal(status, 2);
  assert.match(stderr, /^USAGE: .*tcl.*bash, zsh, fish/);
});
