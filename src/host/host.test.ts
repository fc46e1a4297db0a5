import assert from 'node:assert/strict';
import { closeSync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { probeCapabilities, probeKvm } from './capabilities.js';
import { replaceDescriptor } from './dup.js';
import { HostError } from './errno.js';
import { createEventfd, signalEventfd, takeEventfd } from './eventfd.js';
import { ioctl, ioctlBytes } from './ioctl.js';
import { addressOf, viewOf } from './libc.js';
import { createMemoryFile, isSealed, sealMemoryFile } from './memfd.js';
import { discard, mapFileOver, mapShared, mapZero, probeFileMapping, unmap } from './mmap.js';
import { PAGE_OWN, readOwnPages, readPageStates } from './pagemap.js';
import { fillRandom } from './random.js';

const PAGE = 4096;
const FIONREAD = 0x541b;

test('addresses and views are of the same bytes', () => {
  const shared = new Uint8Array(new SharedArrayBuffer(64));
  shared[10] = 42;
  assert.equal(viewOf(addressOf(shared), 64)[10], 42);
  assert.equal(addressOf(shared.subarray(8)) - addressOf(shared), 8n);
});

test('anonymous memory starts as zeros and is zeros again once discarded', () => {
  const address = mapZero(2 * PAGE);
  const view = viewOf(address, 2 * PAGE);
  assert.equal(view[PAGE], 0);
  view.fill(7);
  discard(address + BigInt(PAGE), PAGE);
  assert.equal(view[PAGE - 1], 7);
  assert.equal(view[PAGE], 0);
  unmap(address, 2 * PAGE);
});

test('a private mapping keeps its writes, a shared one passes them on', () => {
  const fd = createMemoryFile('test');
  writeSync(fd, new Uint8Array(PAGE).fill(1));
  const shared = mapShared(PAGE, fd, 0);
  const address = mapZero(PAGE);
  assert.equal(mapFileOver(address, PAGE, fd, 0), undefined);
  viewOf(address, PAGE)[0] = 2;
  assert.equal(viewOf(shared, PAGE)[0], 1);
  viewOf(shared, PAGE)[1] = 3;
  const back = new Uint8Array(2);
  readSync(fd, back, 0, 2, 0);
  assert.deepEqual([...back], [1, 3]);
  unmap(shared, PAGE);
  unmap(address, PAGE);
  closeSync(fd);
});

test('refused calls name the error', () => {
  const address = mapZero(PAGE);
  assert.equal(mapFileOver(address, PAGE, 1 << 20, 0), 'EBADF');
  unmap(address, PAGE);
  const fd = openSync('/proc/filesystems', 'r');
  assert.match(probeFileMapping(fd, PAGE) ?? '', /^(ENODEV|EIO)$/);
  closeSync(fd);
  assert.throws(
    () => discard(1n, PAGE),
    (error) => error instanceof HostError && error.errno === 'EINVAL',
  );
});

test('a sealed file in memory can be neither written, shrunk nor grown', () => {
  const fd = createMemoryFile('test');
  writeSync(fd, new Uint8Array(PAGE));
  assert.equal(isSealed(fd), false);
  sealMemoryFile(fd);
  assert.equal(isSealed(fd), true);
  assert.throws(() => writeSync(fd, new Uint8Array(1), 0, 1, 0), { code: 'EPERM' });
  assert.throws(() => ftruncateSync(fd, 0), { code: 'EPERM' });
  assert.throws(() => ftruncateSync(fd, 2 * PAGE), { code: 'EPERM' });
  assert.equal(fstatSync(fd).size, PAGE);
  closeSync(fd);
});

test('an eventfd counts signals', () => {
  const fd = createEventfd();
  assert.equal(takeEventfd(fd), 0n);
  signalEventfd(fd);
  signalEventfd(fd);
  assert.equal(takeEventfd(fd), 2n);
  assert.equal(takeEventfd(fd), 0n);
  closeSync(fd);
});

test('random bytes fill all there is, also of shared memory', () => {
  const whole = new Uint8Array(new SharedArrayBuffer(4098));
  const [bytes, other] = [whole.subarray(1, 4097), new Uint8Array(4096)];
  fillRandom(bytes);
  fillRandom(other);
  assert.deepEqual([whole[0], whole[4097]], [0, 0]);
  // Of 96 random bytes some 80 differ.
  assert.ok(new Set(bytes.subarray(0, 96)).size > 50 && new Set(bytes.subarray(4000)).size > 50);
  assert.notDeepEqual(bytes, other);
});

test('a descriptor becomes another file', () => {
  const memory = createMemoryFile('dup');
  const other = openSync('/dev/null', 'r');
  replaceDescriptor(memory, other);
  assert.equal(fstatSync(other).ino, fstatSync(memory).ino);
  closeSync(other);
  closeSync(memory);
  assert.throws(() => replaceDescriptor(memory, other), { errno: 'EBADF' });
});

test('ioctl fills structures in place and returns negated error numbers', () => {
  const fd = openSync('/proc/self/exe', 'r');
  const count = new Uint8Array(4);
  assert.equal(ioctlBytes(fd, FIONREAD, count), 0);
  assert.equal(new Uint32Array(count.buffer)[0], fstatSync(fd).size >>> 0);
  assert.equal(ioctl(fd, 0xae00), -25);
  assert.equal(ioctl(1 << 20, 0xae00), -9);
  closeSync(fd);
});

test('a worker binds the library for itself', async () => {
  const url = new URL('./mmap.js', import.meta.url).href;
  const source = `
    const { parentPort } = require('node:worker_threads');
    import(${JSON.stringify(url)}).then(({ mapZero, unmap }) => {
      const address = mapZero(4096);
      unmap(address, 4096);
      parentPort.postMessage(address);
    });`;
  const worker = new Worker(source, { eval: true });
  const address = await new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  assert.equal(typeof address, 'bigint');
  await worker.terminate();
});

test('the probe finds what this host offers', () => {
  const found = probeCapabilities();
  assert.equal(found.pageSize, PAGE);
  assert.deepEqual(found.imageMapping, { works: true });
  assert.deepEqual(found.sealing, { works: true });
  assert.ok(found.memory.total >= found.memory.available);
  assert.ok(found.memory.available > 0);
});

test('the probe of KVM says how far it got', () => {
  assert.deepEqual(probeKvm('/nonexistent/kvm'), {
    present: false,
    apiVersion: undefined,
    usable: { works: false, why: '/nonexistent/kvm does not exist' },
  });
  const notKvm = probeKvm('/dev/null');
  assert.equal(notKvm.present, true);
  assert.deepEqual(notKvm.usable, { works: false, why: 'KVM_GET_API_VERSION: ENOTTY' });
  const kvm = probeKvm();
  if (kvm.usable.works) assert.equal(kvm.apiVersion, 12);
});

test('own pages are those that have been written, whichever way the kernel tells', () => {
  const pages = 9000;
  const address = mapZero(pages * PAGE);
  const fd = createMemoryFile('pando-test');
  try {
    ftruncateSync(fd, 64 * PAGE);
    mapFileOver(address + BigInt(100 * PAGE), 64 * PAGE, fd, 0);
    const bytes = viewOf(address, pages * PAGE);
    let sum = 0;
    // Each page that is written has another beside it that is only read.
    for (let page = 0; page < pages; page += 2) {
      bytes[page * PAGE] = 1;
      sum += bytes[(page + 1) * PAGE] ?? 0;
    }
    assert.equal(sum, 0);
    const own = readOwnPages(address, pages);
    const states = readPageStates(address, pages);
    for (let page = 0; page < pages; page += 1) {
      assert.equal(own[page] === PAGE_OWN, states[page] === PAGE_OWN, `page ${page}`);
      // A page that is read may be the host's page of zeros, or one of its own: hosts differ.
      if (page % 2 === 0) assert.equal(own[page], PAGE_OWN, `page ${page}`);
      else if (page >= 100 && page < 164) assert.notEqual(own[page], PAGE_OWN, `page ${page}`);
    }
  } finally {
    unmap(address, pages * PAGE);
    closeSync(fd);
  }
});
