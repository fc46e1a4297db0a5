import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import fc from 'fast-check';
import { PandoError } from '../../error.js';
import { FIXTURE_SIZE, FIXTURES } from '../testing/fixtures.js';
import { sampleBytes } from '../testing/sample.js';
import { undoX86Filter } from './bcj-x86.js';
import { bzip2Crc, crc32, crc64 } from './crc.js';
import { type CompressionFormat, decompress, detectCompression } from './decompress.js';
import { xxh64Low } from './xxh64.js';

const LIMIT = 1 << 26;
const DECOMPRESS_CODES = new Set([
  'DECOMPRESS_TRUNCATED',
  'DECOMPRESS_CORRUPT',
  'DECOMPRESS_CHECKSUM',
  'DECOMPRESS_TOO_LARGE',
  'DECOMPRESS_UNSUPPORTED',
]);

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof PandoError) return error.code;
    throw error;
  }
  return 'none';
}

const plain = sampleBytes(FIXTURE_SIZE);
const fixtures = FIXTURES.map((fixture) => ({
  ...fixture,
  bytes: new Uint8Array(Buffer.from(fixture.base64, 'base64')),
}));

test('checksums have the published check values', () => {
  const digits = new TextEncoder().encode('123456789');
  assert.equal(crc32(digits), 0xcbf43926);
  assert.equal(crc64(digits), 0x995dc9bbdf1939fan);
  assert.equal(bzip2Crc(digits), 0xfc891918);
  assert.equal(xxh64Low(new Uint8Array(0)), 0x51d8e999);
});

for (const { format, command, bytes } of fixtures) {
  test(`unpacks what ${command} made`, () => {
    assert.equal(detectCompression(bytes), format);
    assert.deepEqual(Buffer.from(decompress(format, bytes, { limit: LIMIT })), Buffer.from(plain));
    const exact = decompress(format, bytes, { limit: LIMIT, expected: FIXTURE_SIZE });
    assert.deepEqual(Buffer.from(exact), Buffer.from(plain));
  });

  test(`${command}: every truncation is an error of its own`, () => {
    // An LZ4 legacy frame has no end mark, so one cut right behind its magic is an empty frame; a
    // range coder's last bytes may not matter, but the whole stream is asked for all the same.
    const first = format === 'lz4' ? 5 : 0;
    for (let length = first; length < bytes.length; length++) {
      const cut = bytes.subarray(0, length);
      const code = codeOf(() => decompress(format, cut, { limit: LIMIT }));
      assert.ok(DECOMPRESS_CODES.has(code), `${length} of ${bytes.length} bytes gave ${code}`);
    }
    const half = bytes.subarray(0, bytes.length >> 1);
    assert.equal(
      codeOf(() => decompress(format, half, { limit: LIMIT })),
      'DECOMPRESS_TRUNCATED',
    );
  });

  test(`${command}: output stops at the limit`, () => {
    for (const limit of [0, 1, 999, FIXTURE_SIZE - 1]) {
      assert.equal(
        codeOf(() => decompress(format, bytes, { limit })),
        'DECOMPRESS_TOO_LARGE',
      );
    }
    assert.equal(decompress(format, bytes, { limit: FIXTURE_SIZE }).length, FIXTURE_SIZE);
  });

  test(`${command}: damaged input gives the bytes or a coded error`, () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 })), {
          minLength: 1,
          maxLength: 4,
        }),
        (changes) => {
          const damaged = new Uint8Array(bytes);
          for (const [at, mask] of changes) damaged[at]! ^= mask;
          const code = codeOf(() => decompress(format, damaged, { limit: LIMIT }));
          assert.ok(code === 'none' || DECOMPRESS_CODES.has(code), code);
        },
      ),
      { numRuns: 500 },
    );
  });
}

test('a checksum that does not match is told from damage', () => {
  for (const [format, fromEnd] of [
    ['gzip', 8],
    ['zstd', 1],
    ['bzip2', 2],
    ['xz', 0],
  ] as const) {
    const bytes = new Uint8Array(fixtures.find((fixture) => fixture.format === format)!.bytes);
    // The .xz check stands in front of the index, whose size the footer tells.
    const index = bytes.length - 12 - 4 * (1 + bytes[bytes.length - 8]!);
    bytes[format === 'xz' ? index - 1 : bytes.length - fromEnd]! ^= 1;
    assert.equal(
      codeOf(() => decompress(format, bytes, { limit: LIMIT })),
      'DECOMPRESS_CHECKSUM',
    );
  }
});

test('LZO is refused by name', () => {
  const lzo = Uint8Array.of(0x89, 0x4c, 0x5a, 0x4f, 0x00, 0x0d, 0x0a, 0x1a, 0x0a);
  assert.equal(detectCompression(lzo), 'lzo');
  assert.equal(
    codeOf(() => decompress('lzo', lzo, { limit: LIMIT })),
    'COMPRESSION_UNSUPPORTED',
  );
  assert.equal(detectCompression(new Uint8Array(9)), undefined);
});

test('the x86 filter makes an absolute call relative again', () => {
  // CALL at offset 3 to 0x100: the filtered operand is the target itself.
  const bytes = Uint8Array.of(0x90, 0x90, 0x90, 0xe8, 0x00, 0x01, 0x00, 0x00, 0x90, 0x90);
  undoX86Filter(bytes);
  assert.deepEqual([...bytes], [0x90, 0x90, 0x90, 0xe8, 0xf8, 0x00, 0x00, 0x00, 0x90, 0x90]);
});

test('concatenated streams unpack to concatenated bytes', () => {
  for (const { format, bytes } of fixtures) {
    if (format === 'lzma') continue;
    const twice = new Uint8Array(Buffer.concat([bytes, bytes]));
    const unpacked = decompress(format, twice, { limit: LIMIT });
    assert.deepEqual(Buffer.from(unpacked), Buffer.concat([plain, plain]), format);
  }
});

/**
 * Commands that make each format, where the machine has them. zstd's strongest level keeps its window of 2^27
 * bytes, but fills no tables of half a gigabyte to compress one byte.
 */
const TOOLS: readonly (readonly [CompressionFormat, string, readonly string[]])[] = [
  ['gzip', 'gzip', ['-c']],
  ['bzip2', 'bzip2', ['-1c']],
  ['bzip2', 'bzip2', ['-9c']],
  ['lzma', 'xz', ['--format=lzma', '-c']],
  ['xz', 'xz', ['--check=crc32', '--x86', '--lzma2=dict=1MiB', '-c']],
  ['xz', 'xz', ['--check=crc64', '--block-size=100KiB', '-c', '-1']],
  ['xz', 'xz', ['--check=none', '--lzma2=preset=0,lc=1,lp=2,pb=0', '-c']],
  ['lz4', 'lz4', ['-l', '-c', '-q']],
  ['lz4', 'lz4', ['-l', '-9', '-c', '-q']],
  ['zstd', 'zstd', ['-1', '-q', '-c']],
  ['zstd', 'zstd', ['-19', '-q', '-c', '--no-check']],
  ['zstd', 'zstd', ['--ultra', '-22', '--zstd=chainLog=18,hashLog=18', '-q', '-c']],
];

const INPUTS = {
  nothing: new Uint8Array(0),
  'one byte': Uint8Array.of(7),
  zeros: new Uint8Array(700_000),
  'code-like bytes': sampleBytes(600_000),
  noise: (() => {
    const noise = new Uint8Array(200_000);
    let state = 1;
    for (let index = 0; index < noise.length; index++) {
      state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9;
      noise[index] = state >>> 24;
    }
    return noise;
  })(),
};

for (const [format, command, options] of TOOLS) {
  const missing = spawnSync(command, ['--version']).error !== undefined;
  const skip = missing ? `${command} is not installed` : false;
  test(`round trip through ${command} ${options.join(' ')}`, { skip }, () => {
    for (const [name, input] of Object.entries(INPUTS)) {
      const packed = spawnSync(command, options, { input, maxBuffer: LIMIT });
      assert.equal(packed.status, 0, packed.stderr?.toString());
      const unpacked = decompress(format, new Uint8Array(packed.stdout), { limit: LIMIT });
      assert.equal(Buffer.compare(unpacked, input), 0, name);
    }
  });
}

test('output that nobody wants is refused by its beginning, not when all of it is there', (t) => {
  const size = 1 << 26;
  const zeros = Buffer.alloc(size);
  for (const [format, command] of [
    ['gzip', 'gzip'],
    ['bzip2', 'bzip2'],
    ['xz', 'xz --check=crc32'],
    ['lzma', 'xz --format=lzma'],
    ['lz4', 'lz4 -l'],
    ['zstd', 'zstd'],
  ] as const) {
    const packed = spawnSync('sh', ['-c', `${command} -1 -c`], { input: zeros, maxBuffer: size });
    if (packed.status !== 0) {
      t.diagnostic(`${command} is not there`);
      continue;
    }
    let seen: number | undefined;
    const accept = (beginning: Uint8Array): void => {
      seen = beginning.length;
      throw new PandoError('UNWANTED', '');
    };
    for (const expected of [undefined, size]) {
      seen = undefined;
      const bounds = { limit: 2 * size, ...(expected === undefined ? {} : { expected }), accept };
      assert.equal(
        codeOf(() => decompress(format, packed.stdout, bounds)),
        'UNWANTED',
        format,
      );
      assert.ok(seen !== undefined && seen >= 64 && seen <= size / 4, `${format}: ${seen} bytes`);
    }
    const whole = decompress(format, packed.stdout, { limit: size, expected: size });
    assert.equal(whole.length, size, format);
  }
});
