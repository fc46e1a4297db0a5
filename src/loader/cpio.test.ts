import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { PandoError } from '../error.js';
import { BytesSource, FileSource } from './byte-source.js';
import { readCpio, readInitrd } from './cpio.js';
import { type CpioInput, writeCpio } from './cpio-writer.js';

const LIMIT = 1 << 24;
const text = (value: string) => new TextEncoder().encode(value);
const ENTRIES: readonly CpioInput[] = [
  { kind: 'directory', name: 'bin', permissions: 0o755 },
  { kind: 'file', name: 'bin/hello', permissions: 0o755, content: text('hello') },
  { kind: 'symlink', name: 'bin/sh', permissions: 0o777, target: 'hello' },
  { kind: 'directory', name: 'dev', permissions: 0o755 },
  { kind: 'character', name: 'dev/console', permissions: 0o600, major: 5, minor: 1 },
  { kind: 'block', name: 'dev/vda', permissions: 0o660, major: 254, minor: 16 },
  { kind: 'fifo', name: 'dev/pipe', permissions: 0o600 },
  { kind: 'file', name: 'empty', permissions: 0o644, content: new Uint8Array(0) },
];
const archive = writeCpio(ENTRIES);
const coded = (code: string) => (error: PandoError) => error.code === code;
const namesOf = (bytes: Uint8Array) =>
  [...readInitrd(new BytesSource(bytes), LIMIT)].map(({ name }) => name);
const NAMES = ENTRIES.map(({ name }) => name);

function codeOf(bytes: Uint8Array): string {
  try {
    for (const entry of readInitrd(new BytesSource(bytes), LIMIT)) entry.read();
  } catch (error) {
    if (error instanceof PandoError) return error.code;
    throw error;
  }
  return 'none';
}

function replaced(offset: number, value: string): Uint8Array {
  const copy = new Uint8Array(archive);
  copy.set(text(value), offset);
  return copy;
}

test('what is written is read back', () => {
  const entries = [...readCpio(new BytesSource(archive))];
  assert.deepEqual(
    entries.map(({ name }) => name),
    NAMES,
  );
  assert.deepEqual(
    entries.map(({ mode }) => mode.toString(8)),
    ['40755', '100755', '120777', '40755', '20600', '60660', '10600', '100644'],
  );
  assert.equal(Buffer.from(entries[1]!.read()).toString(), 'hello');
  assert.equal(Buffer.from(entries[2]!.read()).toString(), 'hello');
  assert.deepEqual([entries[4]!.rdevMajor, entries[4]!.rdevMinor], [5, 1]);
  assert.deepEqual([entries[5]!.rdevMajor, entries[5]!.rdevMinor], [254, 16]);
  assert.deepEqual(new Set(entries.map(({ ino }) => ino)).size, ENTRIES.length);
  assert.ok(entries.every(({ uid, gid, mtime }) => uid === 0 && gid === 0 && mtime === 0));
});

test('the same entries give the same bytes, in whole blocks', () => {
  assert.equal(Buffer.compare(writeCpio(ENTRIES), archive), 0);
  assert.equal(archive.length % 512, 0);
  assert.equal([...readCpio(new BytesSource(writeCpio(ENTRIES, { mtime: 77 })))][0]?.mtime, 77);
});

const hasCpio = spawnSync('cpio', ['--version']).error === undefined;
test('the system cpio lists the archive', {
  skip: hasCpio ? false : 'cpio is not installed',
}, () => {
  const listed = spawnSync('cpio', ['-t', '--quiet'], { input: archive });
  assert.equal(listed.status, 0, listed.stderr.toString());
  assert.deepEqual(listed.stdout.toString().trim().split('\n'), NAMES);
});

test('archives the system cpio makes are read', {
  skip: hasCpio ? false : 'cpio is not installed',
}, () => {
  const folder = mkdtempSync(join(tmpdir(), 'pando-cpio-'));
  try {
    writeFileSync(join(folder, 'file'), 'content');
    for (const format of ['newc', 'crc']) {
      const made = spawnSync('cpio', ['-o', '-H', format, '--quiet'], {
        cwd: folder,
        input: 'file\n',
      });
      const [entry] = [...readCpio(new BytesSource(new Uint8Array(made.stdout)))];
      assert.equal(entry?.name, 'file');
      assert.equal(Buffer.from(entry!.read()).toString(), 'content');
      if (format === 'newc') continue;
      const damaged = new Uint8Array(made.stdout);
      damaged[damaged.indexOf(0x63, 110)]! ^= 1;
      assert.throws(() => [...readCpio(new BytesSource(damaged))], coded('CPIO_CHECKSUM'));
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('an initrd may be several archives, the last one compressed', () => {
  assert.deepEqual(namesOf(archive), NAMES);
  assert.deepEqual(namesOf(new Uint8Array(Buffer.concat([archive, archive]))), [
    ...NAMES,
    ...NAMES,
  ]);
  const early = writeCpio([{ kind: 'directory', name: 'kernel', permissions: 0o755 }]);
  const joined = Buffer.concat([early, Buffer.alloc(1024), gzipSync(archive)]);
  assert.deepEqual(namesOf(new Uint8Array(joined)), ['kernel', ...NAMES]);
  assert.deepEqual(namesOf(new Uint8Array(0)), []);
});

test('an initrd is read from a file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pando-cpio-'));
  const path = join(folder, 'initrd');
  try {
    writeFileSync(path, archive);
    const source = FileSource.open(path);
    try {
      assert.equal([...readInitrd(source, LIMIT)].length, ENTRIES.length);
      assert.throws(() => source.read(source.size, 1), coded('SOURCE_READ_PAST_END'));
      writeFileSync(path, archive.subarray(0, 100));
      assert.throws(() => source.read(0, 200), coded('FILE_CHANGED'));
    } finally {
      source.close();
    }
    assert.throws(() => FileSource.open(folder), coded('FILE_NOT_REGULAR'));
    assert.throws(() => FileSource.open(join(folder, 'none')), coded('FILE_NOT_FOUND'));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('damaged archives are coded errors', () => {
  let nested: Uint8Array = archive;
  for (let depth = 0; depth < 5; depth++) nested = new Uint8Array(gzipSync(nested));
  const cases: readonly (readonly [string, Uint8Array])[] = [
    ['CPIO_TRUNCATED', archive.subarray(0, 60)],
    ['CPIO_TRUNCATED', archive.subarray(0, 111)],
    ['CPIO_TRUNCATED', archive.subarray(0, 116)],
    ['CPIO_TRUNCATED', replaced(6 + 8 * 6, 'ffffffff')],
    ['CPIO_BAD_MAGIC', replaced(0, '070707')],
    ['CPIO_BAD_FIELD', replaced(6, '0000000g')],
    ['CPIO_BAD_FIELD', replaced(6 + 8 * 6, '      +1')],
    ['CPIO_BAD_NAME', replaced(6 + 8 * 11, '00000000')],
    ['CPIO_BAD_NAME', replaced(6 + 8 * 11, '00001001')],
    ['CPIO_BAD_NAME', replaced(6 + 8 * 11, '00000003')],
    ['CPIO_BAD_NAME', replaced(110, 'a\0b\0')],
    ['INITRD_FORMAT_UNKNOWN', text('not an initrd')],
    ['INITRD_NESTED_TOO_DEEP', nested],
    ['DECOMPRESS_TRUNCATED', new Uint8Array(gzipSync(archive)).subarray(0, 50)],
    ['DECOMPRESS_TOO_LARGE', new Uint8Array(gzipSync(new Uint8Array(LIMIT + 1)))],
  ];
  for (const [code, bytes] of cases) assert.equal(codeOf(bytes), code);
});

test('fuzzed archives give entries or coded errors', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(archive.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      fc.nat(archive.length),
      (changes, length) => {
        const damaged = new Uint8Array(archive);
        for (const [at, value] of changes) damaged[at] = value;
        codeOf(damaged);
        codeOf(damaged.subarray(0, length));
      },
    ),
    { numRuns: 2000 },
  );
});

test('the writer refuses what the kernel would not unpack', () => {
  const directory = (name: string): CpioInput => ({ kind: 'directory', name, permissions: 0o755 });
  const cases: readonly (readonly [string, readonly CpioInput[]])[] = [
    ['CPIO_BAD_NAME', [directory('/bin')]],
    ['CPIO_BAD_NAME', [directory('')]],
    ['CPIO_BAD_NAME', [directory('a'), directory('a/..')]],
    ['CPIO_BAD_NAME', [directory('TRAILER!!!')]],
    ['CPIO_BAD_NAME', [directory('x'.repeat(4096))]],
    ['CPIO_DUPLICATE_NAME', [directory('a'), directory('a')]],
    ['CPIO_PARENT_MISSING', [directory('a/b')]],
    [
      'CPIO_BAD_FIELD',
      [{ kind: 'character', name: 'tty', permissions: 0o600, major: -1, minor: 0 }],
    ],
  ];
  for (const [code, entries] of cases) assert.throws(() => writeCpio(entries), coded(code));
});
