import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { CAPABILITY, EXIT, INTERNAL_ERROR, KVM, KVM_API_VERSION, STRUCT, VALUE } from './api.js';

const HEADER = '/usr/include/linux/kvm.h';

/** Structures of which only the fixed head is described; their `entries` follow it. */
const HEADS = new Set(['kvm_msr_list', 'kvm_msrs', 'kvm_cpuid2', 'kvm_irq_routing']);

function reasonToSkip(): string | false {
  if (!existsSync(HEADER)) return `${HEADER} is not installed`;
  if (spawnSync('cc', ['--version']).status !== 0) return 'no C compiler (cc)';
  return false;
}

test('requests, values and structures are those of the installed headers', (t) => {
  const reason = reasonToSkip();
  if (reason !== false) {
    t.skip(reason);
    return;
  }
  const constants = {
    ...KVM,
    ...CAPABILITY,
    ...EXIT,
    ...INTERNAL_ERROR,
    ...VALUE,
    KVM_API_VERSION,
  };
  const lines: string[] = [];
  for (const name of Object.keys(constants)) {
    lines.push(`printf("${name} %lu\\n", (unsigned long)${name});`);
  }
  for (const [name, { size: _, ...fields }] of Object.entries(STRUCT)) {
    lines.push(`printf("sizeof ${name} %zu\\n", sizeof(struct ${name}));`);
    for (const field of Object.keys(fields)) {
      lines.push(`printf("${name}.${field} %zu\\n", offsetof(struct ${name}, ${field}));`);
    }
  }
  const folder = mkdtempSync(join(tmpdir(), 'pando-kvm-'));
  try {
    const source = join(folder, 'api.c');
    writeFileSync(
      source,
      `#include <linux/kvm.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void) {\n${lines.join('\n')}\n}\n`,
    );
    const program = join(folder, 'api');
    const built = spawnSync('cc', ['-o', program, source], { encoding: 'utf8' });
    assert.equal(built.status, 0, built.stderr);
    const printed = new Map(
      spawnSync(program, { encoding: 'utf8' })
        .stdout.trim()
        .split('\n')
        .map((line) => {
          const at = line.lastIndexOf(' ');
          return [line.slice(0, at), Number(line.slice(at + 1))] as const;
        }),
    );
    for (const [name, value] of Object.entries(constants)) {
      assert.equal(value, printed.get(name), name);
    }
    for (const [name, { size, ...fields }] of Object.entries(STRUCT)) {
      const actual = printed.get(`sizeof ${name}`) ?? 0;
      // Headers that a newer kernel has may end in more fields.
      if (name === 'kvm_run' || name === 'kvm_xsave') assert.ok(actual >= size, name);
      else assert.equal(size, actual, HEADS.has(name) ? `head of ${name}` : name);
      for (const [field, offset] of Object.entries(fields)) {
        assert.equal(offset, printed.get(`${name}.${field}`), `${name}.${field}`);
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
