/** The comparison of interpreter and translator on a guest of a few instructions. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { buildElf, concat, kernelLayout } from '../loader/testing/elf-builder.js';
import { lockstep } from './debug.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-debug-'));
after(() => rmSync(folder, { recursive: true }));

/** File offset of the entry point in the layout that `kernelLayout` gives. */
const ENTRY_OFFSET = 0x1040;
/** mov ecx, 100000; 1: add eax, ecx; dec ecx; jnz 1; mov dx, COM1; mov al, 'u'; out dx, al; hlt */
const CODE = Uint8Array.of(
  ...[0xb9, 0xa0, 0x86, 0x01, 0x00, 0x01, 0xc8, 0x49, 0x75, 0xfb],
  ...[0x66, 0xba, 0xf8, 0x03, 0xb0, 0x75, 0xee, 0xf4],
);

test('lockstep runs both tiers to the text and finds no difference', async () => {
  const layout = kernelLayout(64);
  const contents = [...(layout.contents ?? []), [ENTRY_OFFSET, concat(CODE)] as const];
  const kernel = join(folder, 'kernel');
  writeFileSync(kernel, buildElf({ ...layout, contents }));
  const lines: string[] = [];
  const flags = { kernel, memory: '64M', until: 'u', turn: '1000', threshold: '10' };
  const status = await lockstep(flags, (line) => lines.push(line));
  assert.equal(status, 0, lines.join('\n'));
  assert.match(lines[0] ?? '', /^30000\d instructions in 30\d turns$/);
  assert.equal(lines[1], 'no difference');
});
