/**
 * Hot 32-bit code beside v86, the x86 emulator of npm that translates to WebAssembly as well: one file,
 * bench/payload/, which v86 boots by multiboot and Pando by PVH, without any operating system. The
 * workloads are the same machine code on both sides, compiled here with gcc -m32.
 *
 *     npm install --no-save v86@0.5.462
 *     npm run bench -- against-v86 [--runs 5] [--tier 1] [--v86 FOLDER] [--json FILE]
 *
 * Speed is v86's median time over Pando's: more than 1 is ahead.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Apt } from '#dist/image/apt.js';
import { cacheDirectory } from '#dist/image/directories.js';
import { measure, printComparison, type System, writeComparison } from './comparison.js';

const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
const PAYLOAD = join(PROJECT, 'bench/payload');
const MEGABYTES = '256';
const LIMIT_MS = 600_000;
const BOUNDS = { mean: 1, each: 1 };

/** Without a C library, and with nothing that a compiler adds to a hosted program. */
const FLAGS = [
  ['-m32', '-march=i686', '-O2', '-Wall', '-Wextra', '-Werror', '-ffreestanding', '-nostdlib'],
  ['-fno-pic', '-fno-pie', '-fno-stack-protector', '-fno-asynchronous-unwind-tables'],
  ['-fno-tree-loop-distribute-patterns'],
].flat();

const { values } = parseArgs({
  args: process.argv.slice(2),
  options: {
    runs: { type: 'string', default: '5' },
    tier: { type: 'string', default: '1' },
    v86: { type: 'string' },
    json: { type: 'string' },
  },
});
const runs = Number(values.runs);
if (!(runs >= 1)) throw new Error('--runs is no useful number');

function tool(program: string, args: readonly string[]): void {
  const { status, error, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (error !== undefined) throw new Error(`${program}: ${error.message}`);
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`);
}

/** The payload as an ELF file. */
function compile(folder: string): string {
  const objects: string[] = [];
  const part = (source: string, object: string, flags: readonly string[]): void => {
    const path = join(folder, object);
    tool('gcc', [...FLAGS, ...flags, '-c', join(PAYLOAD, source), '-o', path]);
    objects.push(path);
  };
  part('entry.S', 'entry.o', []);
  part('payload.c', 'payload.o', ['-mno-sse', '-mfpmath=387']);
  part('doubles.c', 'x87.o', ['-DDOUBLES=doubles_x87', '-mno-sse', '-mfpmath=387']);
  part('doubles.c', 'sse2.o', ['-DDOUBLES=doubles_sse2', '-msse2', '-mfpmath=sse']);
  const file = join(folder, 'payload.elf');
  const linking = ['-Wl,--build-id=none', '-Wl,--no-warn-rwx-segments', '-static', '-no-pie'];
  const script = `-Wl,-T,${join(PAYLOAD, 'link.ld')}`;
  tool('gcc', [...FLAGS, ...linking, script, ...objects, '-o', file]);
  return file;
}

function v86Folder(): string {
  if (values.v86 !== undefined) return values.v86;
  try {
    return dirname(createRequire(import.meta.url).resolve('v86/package.json'));
  } catch {
    throw new Error('there is no v86: npm install --no-save v86@0.5.462, or --v86 FOLDER');
  }
}

/** v86 brings no firmware: that of Debian's package seabios, unpacked to the cache unless installed. */
async function firmwareFolder(): Promise<string> {
  const inside = 'usr/share/seabios';
  if (existsSync(join('/', inside, 'bios.bin'))) return join('/', inside);
  const cache = cacheDirectory();
  const folder = join(cache, 'bench-seabios');
  if (!existsSync(join(folder, inside, 'vgabios-stdvga.bin'))) {
    const apt = await Apt.open(cache, () => {});
    try {
      tool('dpkg-deb', ['-x', await apt.download(await apt.show('seabios')), folder]);
    } finally {
      await apt.dispose();
    }
  }
  return join(folder, inside);
}

const folder = mkdtempSync(join(tmpdir(), 'pando-against-v86-'));
try {
  const payload = compile(folder);
  const own = values.tier.split(',').map(
    (tier): System => ({
      title: `Pando, tier ${tier}`,
      program: process.execPath,
      args: [
        [join(PROJECT, 'bin/pando.js'), 'run', '--accel', 'wasm', '--tier', tier],
        ['--kernel', payload, '--memory', `${MEGABYTES}M`, '--serial', 'stdio'],
      ].flat(),
    }),
  );
  const guest = fileURLToPath(new URL('v86-guest.js', import.meta.url));
  const peer: System = {
    title: 'v86',
    program: process.execPath,
    args: [guest, v86Folder(), await firmwareFolder(), payload, MEGABYTES],
  };
  const all = await measure([...own, peer], runs, LIMIT_MS);
  printComparison(all.slice(0, own.length), all[own.length], BOUNDS);
  if (values.json !== undefined) writeComparison(values.json, 'against-v86', all);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
