/** All static checks: format and lint, types, import rules, what nobody uses. Runs all, then fails. */
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { importBreaches } from './import-rules.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

function tool(program, ...args) {
  const path = join(root, 'node_modules', program);
  return spawnSync(process.execPath, [path, ...args], { cwd: root, stdio: 'inherit' }).status === 0;
}

function imports() {
  const breaches = importBreaches(join(root, 'src'));
  for (const breach of breaches) console.error(breach);
  return breaches.length === 0;
}

const checks = [
  [
    'format and lint',
    () =>
      tool(
        '@biomejs/biome/bin/biome',
        'ci',
        `--colors=${process.stdout.isTTY ? 'force' : 'off'}`,
        '.',
      ),
  ],
  ['types', () => tool('typescript/bin/tsc', '-p', '.', '--noEmit')],
  ['types of whole boots', () => tool('typescript/bin/tsc', '-p', 'test', '--noEmit')],
  ['types of benches', () => tool('typescript/bin/tsc', '-p', 'bench', '--noEmit')],
  ['import rules', imports],
  ['agent', () => tool('../scripts/agent.mjs', '--check')],
  ['unused code', () => tool('knip/bin/knip.js')],
];

const failed = checks.filter(([name, check]) => {
  console.log(`check: ${name}`);
  return !check();
});
for (const [name] of failed) console.error(`CHECK_FAILED: ${name}`);
process.exit(failed.length === 0 ? 0 : 1);
