/** The comparison of interpreter and translator on a guest of a few instructions. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { Vm } from '../vm/vm.js';
import { lockstepCommand } from './debug-lockstep.js';
import { loopKernel } from './testing/loop-kernel.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-debug-'));
process.env.PANDO_STORE = folder;
after(() => rmSync(folder, { recursive: true }));

async function run(
  flags: { readonly [name: string]: string | boolean },
  planted?: string,
): Promise<{ status: number; lines: string[] }> {
  const lines: string[] = [];
  const status = await lockstepCommand(
    { memory: '64M', until: 'u', turn: '1000', ram: '20000', threshold: '10', ...flags },
    { print: (line) => lines.push(line), ...(planted === undefined ? {} : { planted }) },
  );
  return { status, lines };
}

describe('lockstep', () => {
  it('runs both tiers to the text and finds no difference', { timeout: 60_000 }, async () => {
    const { status, lines } = await run({ kernel: loopKernel(join(folder, 'plain')) });
    assert.equal(status, 0, lines.join('\n'));
    assert.match(lines[0] ?? '', /^6000\d\d instructions in 599 turns of 1000/);
    assert.match(lines[1] ?? '', /RAM [23]\d times/);
    assert.equal(lines.at(-1), 'no difference');
  });

  it('names the block of an operation that is translated wrongly', {
    timeout: 60_000,
  }, async () => {
    const kernel = loopKernel(join(folder, 'planted'));
    const { status, lines } = await run({ kernel }, 'IMUL_RRI_32');
    const text = lines.join('\n');
    assert.equal(status, 1, text);
    assert.match(text, /^different in turn \d$/m);
    assert.match(text, /^rdx: 0x[0-9a-f]+ and 0x[0-9a-f]+$/m);
    assert.match(text, /^ {2}[0-9a-f]{16} {2}imul edx,eax,7$/m);
  });

  it('finds a wrong store in RAM, and the turn and block that made it', async () => {
    const kernel = loopKernel(join(folder, 'store'));
    const { status, lines } = await run({ kernel }, 'MOV_MI_8');
    assert.equal(status, 1, lines.join('\n'));
    assert.match(lines.join('\n'), /^RAM at 0x9004: bytes 06[0-9a-f]* and 05/m);
    assert.match(lines.join('\n'), /^ {2}[0-9a-f]{16} {2}mov byte ptr \[9004h\],5$/m);
  });

  it('goes on from a snapshot, to the same state twice', { timeout: 120_000 }, async () => {
    const kernel = loopKernel(join(folder, 'captured'));
    const vm = await Vm.create({ kernel, memory: 64 << 20, accelerator: 'wasm' });
    try {
      await vm.snapshot({ name: 'begin' });
    } finally {
      await vm.close();
    }
    const [first, second] = [await run({ snapshot: 'begin' }), await run({ snapshot: 'begin' })];
    assert.equal(first.status, 0, first.lines.join('\n'));
    assert.match(first.lines[0] ?? '', /^6000\d\d instructions in 599 turns of 1000/);
    const stripped = ({ lines }: { lines: string[] }): string =>
      lines.join('\n').replace(/[\d.]+ s:/, '');
    assert.equal(stripped(first), stripped(second));
    const planted = await run({ snapshot: 'begin' }, 'IMUL_RRI_32');
    assert.match(planted.lines.join('\n'), /^ {2}[0-9a-f]{16} {2}imul edx,eax,7$/m);
  });

  it('prints one JSON object with --json', async () => {
    const { lines } = await run({ kernel: loopKernel(join(folder, 'json')), json: true });
    const report = JSON.parse(lines.join('\n')) as { end: string; difference: null };
    assert.equal(report.end, 'text');
    assert.equal(report.difference, null);
  });
});
