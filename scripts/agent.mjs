/**
 * Builds agent/pando-agent, the program inside guests, with musl's compiler (Debian: musl-tools): static, and
 * the same bytes wherever the same compiler builds it. `--check` compares with the one in the checkout, and
 * says so where there is no compiler.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = join(dirname(dirname(fileURLToPath(import.meta.url))), 'agent');
const program = join(folder, 'pando-agent');
const checking = process.argv.includes('--check');

const FLAGS = [
  ...['-std=gnu11', '-static', '-Os', '-Wall', '-Wextra', '-Werror', '-s'],
  ...['-ffunction-sections', '-fdata-sections', '-Wl,--gc-sections', '-Wl,--build-id=none'],
];

function compile(output) {
  const sources = readdirSync(folder).filter((name) => name.endsWith('.c'));
  const args = [...FLAGS, '-o', output, ...sources.sort()];
  const { status, error } = spawnSync('musl-gcc', args, { cwd: folder, stdio: 'inherit' });
  if (error?.code === 'ENOENT') return false;
  if (status !== 0) process.exit(status ?? 1);
  return true;
}

if (!checking) {
  if (!compile(program)) {
    console.error(
      'AGENT_COMPILER_MISSING: there is no musl-gcc (Debian: apt-get install musl-tools)',
    );
    process.exit(1);
  }
} else {
  const temporary = mkdtempSync(join(tmpdir(), 'pando-agent-'));
  const built = join(temporary, 'pando-agent');
  try {
    if (!compile(built)) console.log('agent: there is no musl-gcc: not compared');
    else if (!readFileSync(built).equals(readFileSync(program))) {
      console.error('AGENT_STALE: agent/pando-agent is not what agent/*.c make: npm run agent');
      process.exitCode = 1;
    }
  } finally {
    rmSync(temporary, { recursive: true });
  }
}
