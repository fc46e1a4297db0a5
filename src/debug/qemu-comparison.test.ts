/** The comparison with QEMU's emulation; without QEMU only what needs none. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { loopKernel } from '../cli/testing/loop-kernel.js';
import { openImages } from '../run/images.js';
import { compareWithQemu, kindOf, type QemuReport } from './qemu-comparison.js';
import { qemuVersion } from './qemu-peer.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-debug-'));
after(() => rmSync(folder, { recursive: true }));

const MEMORY = 64 << 20;
const skip = qemuVersion() === undefined ? 'there is no QEMU' : false;

async function compare(
  limit: number,
  disturb: Parameters<typeof compareWithQemu>[0]['progress'] = () => {},
): Promise<QemuReport> {
  const kernel = loopKernel(join(folder, 'kernel'));
  const images = openImages({ kernel, initrd: undefined, memory: MEMORY, immutable: false });
  try {
    return await compareWithQemu({
      images,
      memory: MEMORY,
      commandLine: '',
      kernel,
      initrd: undefined,
      entry: images.plan.entry,
      limit,
      progress: disturb,
    });
  } finally {
    images.close();
  }
}

it('tells instructions that need care from their bytes', () => {
  const kind = (bits: number, ...bytes: number[]): string => {
    const { repeated, foreign, halt } = kindOf(Uint8Array.from(bytes), bits);
    return [repeated && 'repeated', foreign && 'foreign', halt && 'halt'].filter(Boolean).join();
  };
  assert.equal(kind(64, 0xf3, 0x48, 0xab), 'repeated');
  assert.equal(kind(64, 0xf3, 0x90), '');
  assert.equal(kind(64, 0xf3, 0x0f, 0x6f), '');
  assert.equal(kind(64, 0x48, 0xab), '');
  assert.equal(kind(32, 0x48, 0x0f, 0xa2), '');
  assert.equal(kind(64, 0x0f, 0xa2), 'foreign');
  assert.equal(kind(64, 0x0f, 0x01, 0xf9), 'foreign');
  assert.equal(kind(64, 0x0f, 0x01, 0xf8), '');
  assert.equal(kind(64, 0xf4), 'halt');
});

describe('beside QEMU', { skip, timeout: 120_000 }, () => {
  it('goes from the entry into 64-bit mode and through a loop without a difference', async () => {
    const report = await compare(300);
    assert.deepEqual(report.texts, []);
    assert.equal(report.end, 'limit');
    assert.equal(report.instructions, 300);
    // RDMSR of EFER on the way to 64-bit mode.
    assert.equal(report.copied, 1);
  });

  it('shows the instruction after which a register differs', async () => {
    const report = await compare(300, (instructions, guest) => {
      const gpr = [...guest.state.gpr];
      gpr[1] = (gpr[1] ?? 0n) + 1n;
      if (instructions === 100) guest.adopt({ gpr });
    });
    assert.equal(report.end, 'difference');
    assert.equal(report.instructions, 101);
    assert.match(report.texts.join('\n'), /^rcx: 0x1869\w and 0x1869\w$/m);
    assert.match(report.code.at(-1) ?? '', /^ {2}00000000010000\w\w {2}\w+/);
  });
});
