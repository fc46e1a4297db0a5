import assert from 'node:assert/strict';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Placement } from '../loader/plan.js';
import { figuresOf, readMappings } from '../measure/process-memory.js';
import { GuestMemory } from './guest-memory.js';
import { READ_REASON } from './image-pages.js';
import { type ImageFile, placeImages } from './place-images.js';
import { accountSharing } from './sharing.js';

const PAGE = 4096;
const MIB = 1 << 20;
const folder = mkdtempSync(join(tmpdir(), 'pando-memory-'));
const open: number[] = [];
after(() => {
  for (const fd of open) closeSync(fd);
  rmSync(folder, { recursive: true });
});

/** The byte that test images have at an offset: never 0, and different in neighbouring pages. */
const byteAt = (offset: number): number => 1 + ((offset ^ (offset >> 12)) % 255);
const image = (size: number): Uint8Array => Uint8Array.from({ length: size }, (_, i) => byteAt(i));

function fileOf(name: string, contents: Uint8Array): ImageFile {
  const path = join(folder, name);
  writeFileSync(path, contents);
  const fd = openSync(path, 'r');
  open.push(fd);
  return { fd, size: contents.length, name: path };
}

const newGuest = (): GuestMemory => GuestMemory.create({ ramBytes: 16 * MIB, controlBytes: MIB });

const at = (
  part: Placement['part'],
  guestAddress: number,
  fileOffset: number,
  fileLength: number,
  zeroLength = 0,
): Placement => ({
  source: part === 'initrd' ? 'initrd' : 'kernel',
  ...{ part, guestAddress, fileOffset, fileLength, zeroLength },
});

/** Whether guest RAM holds the placements' bytes, and zeros everywhere else. */
function assertPlaced(guest: GuestMemory, placements: Placement[], contents: Uint8Array): void {
  const expected = new Uint8Array(guest.ramBytes);
  for (const { guestAddress, fileOffset, fileLength } of placements)
    expected.set(contents.subarray(fileOffset, fileOffset + fileLength), guestAddress);
  assert.equal(Buffer.compare(guest.bytes(0, guest.ramBytes), expected), 0);
}

const kernelImage = image(64 * PAGE + 100);
const kernel = fileOf('kernel', kernelImage);
/** Like a kernel's: congruent, with BSS, two segments that meet within a page, one incongruent. */
const kernelPlan = [
  at('text', MIB, PAGE, 20 * PAGE),
  at('rodata', 2 * MIB, 21 * PAGE, 3 * PAGE + 100),
  at('data', 2 * MIB + 3 * PAGE + 100, 24 * PAGE + 100, 2 * PAGE, 5 * PAGE),
  at('data', 3 * MIB, 30 * PAGE + 7, 4 * PAGE + 9),
];

test('both ways of loading give the same guest memory', () => {
  for (const mode of ['map', 'read'] as const) {
    const guest = newGuest();
    guest.bytes(0, guest.ramBytes).fill(0xee);
    placeImages(guest, kernelPlan, { kernel }, mode);
    assertPlaced(guest, kernelPlan, kernelImage);
  }
});

test('whole congruent pages are mapped, the others read, and the result says why', () => {
  const { ranges } = placeImages(newGuest(), kernelPlan, { kernel }, 'map');
  const shown = ranges.map((r) => [r.part, r.how, r.guestAddress, r.length, r.reason]);
  const shared = 2 * MIB + 3 * PAGE;
  assert.deepEqual(shown, [
    ['text', 'mapped', MIB, 20 * PAGE, undefined],
    ['rodata', 'mapped', 2 * MIB, 3 * PAGE, undefined],
    ['rodata', 'read', shared, 100, READ_REASON.partialPage],
    ['data', 'read', shared + 100, PAGE - 100, READ_REASON.partialPage],
    ['data', 'mapped', shared + PAGE, PAGE, undefined],
    ['data', 'read', shared + 2 * PAGE, 100, READ_REASON.partialPage],
    ['data', 'zero', shared + 2 * PAGE + 100, 5 * PAGE, undefined],
    ['data', 'read', 3 * MIB, 4 * PAGE + 9, READ_REASON.incongruent],
  ]);
  const read = placeImages(newGuest(), kernelPlan, { kernel }, 'read').ranges;
  assert.ok(read.every((r) => r.how === 'zero' || r.reason === READ_REASON.asked));
});

test('two VMs of one file share its pages until one writes', () => {
  const file = fileOf('shared', image(512 * PAGE));
  const plan = [at('text', MIB, 0, 512 * PAGE)];
  const [one, two] = [newGuest(), newGuest()];
  const placed = [
    placeImages(one, plan, { kernel: file }, 'map'),
    placeImages(two, plan, { kernel: file }, 'map'),
  ];
  const touch = (guest: GuestMemory): void => {
    let sum = 0;
    for (let page = 0; page < 512; page++) sum += guest.bytes(MIB + page * PAGE, 1)[0] ?? 0;
    assert.notEqual(sum, 0);
  };
  touch(one);
  touch(two);
  one.bytes(MIB + 5 * PAGE, 1)[0] = 0;
  two.bytes(MIB + 6 * PAGE, 1)[0] = 0;
  two.bytes(MIB + 7 * PAGE, 1)[0] = 0;
  assert.equal(one.bytes(MIB + 6 * PAGE, 1)[0], byteAt(6 * PAGE));
  assert.equal(two.bytes(MIB + 5 * PAGE, 1)[0], byteAt(5 * PAGE));
  assert.equal(readFileSync(file.name)[5 * PAGE], byteAt(5 * PAGE));

  // A write into a file page that is mapped as part of a huge one unmaps its neighbours.
  touch(one);
  touch(two);
  const figures = figuresOf(readMappings('self', { path: file.name }));
  assert.equal(figures.rss, 2 * 512 * PAGE);
  assert.equal(figures.anonymous, 3 * PAGE);
  // Each file page counts once however many map it; the kernel rounds the shares of large folios.
  assert.ok(Math.abs(figures.pss - 515 * PAGE) <= 16 * PAGE, `PSS ${figures.pss}`);

  const counts = [one, two].map((guest, i) => accountSharing(guest, placed[i]?.ranges ?? []));
  assert.deepEqual(counts[0]?.parts.text, { total: 512, shared: 511, own: 1, untouched: 0 });
  assert.deepEqual(counts[1]?.parts.text, { total: 512, shared: 510, own: 2, untouched: 0 });
  assert.equal(counts[0]?.parts.rest.own, 0);
});

test('a whole initrd stays the file’s, its last page included', () => {
  const contents = image(10 * PAGE + 123);
  const initrd = fileOf('initrd', contents);
  const plan = [at('initrd', 8 * MIB, 0, contents.length)];
  const guest = newGuest();
  const { ranges } = placeImages(guest, plan, { initrd }, 'map');
  assertPlaced(guest, plan, contents);
  const { initrd: pages } = accountSharing(guest, ranges).parts;
  assert.deepEqual(pages, { total: 11, shared: 11, own: 0, untouched: 0 });
});

test('restoring brings back images, BSS and zeros, and gives up the VM’s own pages', () => {
  for (const mode of ['map', 'read'] as const) {
    const guest = newGuest();
    const placed = placeImages(guest, kernelPlan, { kernel }, mode);
    const own = (): number => {
      const { text, rodata, data, rest } = accountSharing(guest, placed.ranges).parts;
      return text.own + rodata.own + data.own + rest.own;
    };
    const before = own();
    new Uint8Array(guest.buffer, 0, 1)[0] = 5;
    for (let round = 0; round < 2; round++) {
      guest.bytes(0, guest.ramBytes).fill(0xee);
      assert.equal(own(), guest.ramBytes / PAGE);
      placed.restore();
      assert.equal(own(), before);
      assertPlaced(guest, kernelPlan, kernelImage);
    }
    assert.equal(new Uint8Array(guest.buffer, 0, 1)[0], 5);
  }
});

test('a file that cannot be mapped is read instead', () => {
  const path = '/proc/filesystems';
  const contents = readFileSync(path);
  const fd = openSync(path, 'r');
  open.push(fd);
  const plan = [at('text', MIB, 0, contents.length)];
  const guest = newGuest();
  const file = { fd, size: contents.length, name: path };
  const { ranges } = placeImages(guest, plan, { kernel: file }, 'map');
  assertPlaced(guest, plan, contents);
  assert.equal(ranges.length, 1);
  assert.equal(ranges[0]?.how, 'read');
  assert.match(ranges[0]?.reason ?? '', /^mmap was refused: (ENODEV|EIO)$/);
});

test('a plan that asks for what is not there leaves zeros and no mapping', () => {
  const cases: [Placement[], string][] = [
    [[at('text', MIB, PAGE, 64 * PAGE)], 'IMAGE_TRUNCATED'],
    [[at('text', MIB, 0, PAGE), at('data', MIB + 1, 0, PAGE)], 'IMAGE_OVERLAP'],
    [[at('text', 16 * MIB - PAGE, 0, 2 * PAGE)], 'IMAGE_PAST_RAM'],
    [[at('text', MIB, 0, PAGE), at('initrd', 8 * MIB, 0, 1)], 'IMAGE_FILE_MISSING'],
  ];
  for (const [plan, code] of cases) {
    const guest = newGuest();
    assert.throws(() => placeImages(guest, plan, { kernel }, 'map'), { code });
    assertPlaced(guest, [], kernelImage);
  }
});

test('a file that shrank since it was opened fails while placing, with nothing left mapped', () => {
  const contents = image(8 * PAGE + 10);
  const file = fileOf('shrunk', contents);
  const plan = [at('text', MIB, 0, 4 * PAGE), at('data', 2 * MIB, 4 * PAGE + 1, 4 * PAGE)];
  truncateSync(file.name, 5 * PAGE);
  const guest = newGuest();
  assert.throws(() => placeImages(guest, plan, { kernel: file }, 'map'), {
    code: 'IMAGE_TRUNCATED',
  });
  assertPlaced(guest, [], contents);
  assert.deepEqual(readMappings('self', { path: file.name }), []);
});

test('a file that can only be written is refused with its error', () => {
  const fd = openSync(join(folder, 'write-only'), 'w');
  open.push(fd);
  const file = { fd, size: PAGE, name: 'write-only' };
  const place = (): unknown =>
    placeImages(newGuest(), [at('text', MIB, 0, PAGE)], { kernel: file }, 'map');
  assert.throws(place, { code: 'IMAGE_READ_FAILED', message: /EBADF/ });
});

test('a file shorter than it claims is not mapped, so touching it cannot kill the process', () => {
  const file = { ...kernel, size: 1024 * PAGE };
  const plan = [at('text', MIB, 60 * PAGE, 8 * PAGE)];
  const guest = newGuest();
  assert.throws(() => placeImages(guest, plan, { kernel: file }, 'map'), {
    code: 'IMAGE_TRUNCATED',
  });
  assertPlaced(guest, [], kernelImage);
});

test('a mapping that is refused after the probe went well is read, and the others stay mapped', () => {
  const refusing = openSync(join(folder, 'refusing'), 'w');
  open.push(refusing);
  // A kernel may refuse for want of memory at any moment: here a file's first fixed mapping, the use
  // of its descriptor that follows the probe's two.
  let uses = 0;
  const file = {
    get fd() {
      return ++uses === 3 ? refusing : kernel.fd;
    },
    size: kernel.size,
    name: kernel.name,
  };
  const plan = [at('initrd', 8 * MIB, 0, 4 * PAGE), at('text', MIB, PAGE, 8 * PAGE)];
  const guest = newGuest();
  const { ranges } = placeImages(guest, plan, { kernel: file, initrd: kernel }, 'map');
  assertPlaced(guest, plan, kernelImage);
  assert.deepEqual(
    ranges.map((range) => [range.part, range.how, range.reason]),
    [
      ['initrd', 'mapped', undefined],
      ['text', 'read', 'mmap was refused: EACCES'],
    ],
  );
  assert.equal(accountSharing(guest, ranges).parts.initrd.shared, 4);
});
