/**
 * Builds the programs inside guests, agent/pando-agent and agent/pando-launch, with musl's compiler (Debian:
 * musl-tools): static, and the same bytes wherever the same compiler builds them. `--check` compares with
 * those in the checkout, and says so where there is no compiler.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const agent = join(dirname(dirname(fileURLToPath(import.meta.url))), 'agent');
const checking = process.argv.includes('--check');

/** Each program with the folder of its sources, below agent/. */
const PROGRAMS = [
  ['pando-agent', '.'],
  ['pando-launch', 'launch'],
];

const FLAGS = [
  ...['-std=gnu11', '-static', '-Os', '-Wall', '-Wextra', '-Werror', '-s'],
  ...['-ffunction-sections', '-fdata-sections', '-Wl,--gc-sections', '-Wl,--build-id=none'],
];

function compile(folder, output) {
  const sources = readdirSync(join(agent, folder)).filter((name) => name.endsWith('.c'));
  const args = [...FLAGS, '-o', output, ...sources.sort()];
  const { status, error } = spawnSync('musl-gcc', args, {
    cwd: join(agent, folder),
    stdio: 'inherit',
  });
  if (error?.code === 'ENOENT') return false;
  if (status !== 0) process.exit(status ?? 1);
  return true;
}

function build() {
  for (const [name, folder] of PROGRAMS) {
    if (compile(folder, join(agent, name))) continue;
    console.error(
      'AGENT_COMPILER_MISSING: there is no musl-gcc (Debian: apt-get install musl-tools)',
    );
    process.exit(1);
  }
}

function check() {
  const temporary = mkdtempSync(join(tmpdir(), 'pando-agent-'));
  try {
    for (const [name, folder] of PROGRAMS) {
      const built = join(temporary, name);
      if (!compile(folder, built)) console.log(`${name}: there is no musl-gcc: not compared`);
      else if (!readFileSync(built).equals(readFileSync(join(agent, name)))) {
        console.error(`AGENT_STALE: agent/${name} is not what its sources make: npm run agent`);
        process.exitCode = 1;
      }
    }
  } finally {
    rmSync(temporary, { recursive: true });
  }
}

if (checking) check();
else build();
