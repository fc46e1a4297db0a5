/**
 * A guest that hashes, starts processes, writes to a disk and reads it again, and gets files over the network, all
 * the time, and is cloned meanwhile. Each clone is told to end after the round that it is in, and so is the
 * guest at last: what all of them have computed must be what this process computes.
 *
 *     npm run bench -- clones-under-load [clones, default 50] [seconds, default 120]
 *
 * A pause of the guest is the time from the request that holds it to its release. Ends with status 1 when a
 * result is wrong.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { quantile } from '#dist/bench/statistics.js';
import { ensureImage } from '#dist/image/ensure-image.js';
import { ownProcess } from '#dist/platform/own-process.js';
import { Lifecycle } from '#dist/run/lifecycle.js';
import { Vm } from '#dist/vm/vm.js';
import { GuestConsole } from './guest-console.js';

ownProcess();
const [clones = 50, seconds = 120] = process.argv.slice(2).map(Number);
const PATIENCE = 600;
const MIB = 2 ** 20;
/** Bytes that each round hashes, writes and gets. */
const HASHED = MIB;
const WRITTEN = MIB / 4;
const FETCHED = MIB / 2;
const PROCESSES = 16;
const RESULT = /RESULT (\d+) ([0-9a-f]{64})/;

/** Numbers that are there, a line each, and where the lines begin. */
let lines = Buffer.alloc(0);
const starts: number[] = [];

/** The numbers from `first` on, a line each. This thread is the guest's host, too: it makes them once, not for each round. */
function numbers(first: number, bytes: number): Buffer {
  while ((starts[first] ?? Number.POSITIVE_INFINITY) + bytes > lines.length) {
    const more: string[] = [];
    let { length } = lines;
    for (let count = 0; count < MIB / 4; count += 1) {
      const line = `${starts.length}\n`;
      starts.push(length);
      length += line.length;
      more.push(line);
    }
    lines = Buffer.concat([lines, Buffer.from(more.join(''))]);
  }
  const start = starts[first] ?? 0;
  return lines.subarray(start, start + bytes);
}

const sha256 = (bytes: Buffer | string): string => createHash('sha256').update(bytes).digest('hex');

/** What a guest has computed after so many rounds. */
function expected(rounds: number): string {
  let sum = 'begin';
  for (let round = 0; round < rounds; round += 1) {
    const parts = [HASHED, WRITTEN, FETCHED].map((bytes) => sha256(numbers(round, bytes)));
    const products = Array.from({ length: PROCESSES }, (_, index) => `${(index + 1) * round}\n`);
    sum = sha256(`${[sum, ...parts, sha256(products.join(''))].join(' ')}\n`);
  }
  return sum;
}

function script(port: number): string {
  return `sum() { sha256sum | cut -c 1-64; }
r=0 s=begin
while [ ! -e /stop ]; do
  at=$((r % 8 * 64))
  seq $r 9999999 2>/dev/null | head -c ${WRITTEN} | dd of=/dev/vda bs=4k seek=$at conv=notrunc,fsync 2>/dev/null
  h=$(seq $r 9999999 2>/dev/null | head -c ${HASHED} | sum)
  echo 3 > /proc/sys/vm/drop_caches
  d=$(dd if=/dev/vda bs=4k skip=$at count=${WRITTEN / 4096} 2>/dev/null | sum)
  until timeout 10 wget -q -O /fetched http://gateway:${port}/$r; do usleep 100000; done
  n=$(sum < /fetched)
  p=$(for i in $(seq ${PROCESSES}); do (echo $((i * r))) & done | sort -n | sum)
  s=$(echo $s $h $d $n $p | sum)
  r=$((r + 1))
done
echo RESULT $r $s
`;
}

/** Times of pauses, in milliseconds. */
const pauses: number[] = [];
const { hold } = Lifecycle.prototype;
Lifecycle.prototype.hold = async function timed(this: Lifecycle) {
  const began = performance.now();
  const release = await hold.call(this);
  return () => {
    release();
    pauses.push(performance.now() - began);
  };
};

let wrong = 0;

function fail(name: string, what: string): void {
  wrong += 1;
  process.stderr.write(`${name}: ${what}\n`);
}

/** Looks at what guests have said, once none of them is to be cloned any more: it takes this thread a while. */
const results: (() => void)[] = [];

/** Tells a guest to end, and takes what it says. */
async function finish(vm: Vm, console: GuestConsole, name: string): Promise<void> {
  try {
    console.type('touch /stop\n');
    const [, rounds = '', sum] = await console.expect(RESULT, PATIENCE);
    results.push(() => {
      if (sum !== expected(Number(rounds))) fail(name, `round ${rounds} is wrong: ${sum}`);
    });
  } catch (error) {
    fail(name, String(error));
  } finally {
    await vm.close();
  }
}

const folder = mkdtempSync(join(tmpdir(), 'pando-load-'));
const server = createServer((request, response) => {
  response.end(numbers(Number(request.url?.slice(1)), FETCHED));
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const { port } = server.address() as AddressInfo;
const disk = join(folder, 'disk');
const program = join(folder, 'program');
writeFileSync(disk, Buffer.alloc(4 * MIB));
writeFileSync(program, script(port).padEnd(4096, '\n'));
try {
  const image = await ensureImage('debian', { progress: () => {}, modules: true });
  const vm = await Vm.create({
    kernel: image.kernelPath,
    initrd: image.initrdPath,
    modules: image.modulesPath,
    commandLine: image.commandLine,
    memory: 2 ** 30,
    disks: [
      { path: disk, mode: 'cow' },
      { path: program, mode: 'ro' },
    ],
    net: { mode: 'user', allow: [`127.0.0.1:${port}`] },
  });
  const console = new GuestConsole(vm);
  vm.start();
  await console.expect(/ # /, PATIENCE);
  console.type('sh /dev/vdb &\n');
  const ends: Promise<void>[] = [];
  const began = performance.now();
  for (let index = 0; index < clones; index += 1) {
    await sleep(began + ((index + 1) * seconds * 1000) / clones - performance.now());
    const before = performance.now();
    const [result] = await vm.clone();
    if (result?.status !== 'fulfilled') throw result?.reason;
    const clone = result.value;
    const cloned = new GuestConsole(clone);
    clone.start();
    const took = (performance.now() - before).toFixed(1);
    process.stderr.write(
      `clone ${index}: ${took} ms, the guest paused ${pauses.at(-1)?.toFixed(1)}\n`,
    );
    ends.push(finish(clone, cloned, `clone ${index}`));
  }
  ends.push(finish(vm, console, 'the guest'));
  await Promise.all(ends);
  for (const check of results) check();
} finally {
  server.close();
  server.closeAllConnections();
  rmSync(folder, { recursive: true });
}
const sorted = pauses.slice(-clones).sort((a, b) => a - b);
const [median, highest] = [quantile(sorted, 0.5), quantile(sorted, 1)];
process.stdout.write(
  `${clones + 1 - wrong} of ${clones + 1} results are right; pauses: median ${median.toFixed(1)} ms, ` +
    `highest ${highest.toFixed(1)} ms\n`,
);
if (wrong > 0) process.exitCode = 1;
