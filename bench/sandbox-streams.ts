/**
 * Much through one sandbox: bytes through standard input and output of `cat` while twenty other commands run at a
 * time, a large file copied out, many small files listed. Bytes are compared by their SHA-256; what this process
 * holds is sampled while they come, and the others' latency is told beside that of an idle sandbox.
 *
 *     npm run bench -- sandbox-streams [MiB through cat, 1024] [MiB of the file, 2048] [thousands of files, 1000]
 *
 * The exit status is 1 when bytes differ, files are missing, memory grows with the bytes, or the others wait more
 * than three times as long.
 */
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Sandbox } from 'pando';
import { quantile } from '#dist/bench/statistics.js';

const [streamed = 1024, copied = 2048, thousands = 1000] = process.argv.slice(2).map(Number);
const MIB = 2 ** 20;
/** What a process may hold more while bytes go through it, however many. */
const GROWTH = 96 * MIB;
const OTHERS = 20;
const SLOWER = 3;
const ROUNDS = 5;
/** Guest RAM for a million inodes of tmpfs. */
const MEMORY = 2560 * MIB;
const failures: string[] = [];

/** The most that this process holds beyond what it held at the beginning, until `over`. */
class MemoryWatch implements Disposable {
  readonly #first = process.memoryUsage.rss();
  #most = this.#first;
  readonly #timer = setInterval(() => {
    this.#most = Math.max(this.#most, process.memoryUsage.rss());
  }, 100);

  check(what: string): string {
    const grown = this.#most - this.#first;
    if (grown > GROWTH) failures.push(`${what}: memory grew by ${Math.round(grown / MIB)} MiB`);
    return `memory +${Math.round(grown / MIB)} MiB`;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

function compare(what: string, sent: string, come: string): void {
  if (sent !== come) failures.push(`${what}: other bytes came than were sent`);
}

function rate(mebibytes: number, since: number): string {
  const seconds = (performance.now() - since) / 1000;
  return `${mebibytes} MiB in ${seconds.toFixed(1)} s, ${(mebibytes / seconds).toFixed(1)} MiB/s`;
}

/** Milliseconds of twenty commands that run at a time. */
async function latencies(sandbox: Sandbox): Promise<number[]> {
  const one = async (): Promise<number> => {
    const began = performance.now();
    await sandbox.exec(['true'], { check: true });
    return performance.now() - began;
  };
  return Promise.all(Array.from({ length: OTHERS }, one));
}

function told(times: readonly number[]): { readonly text: string; readonly middle: number } {
  const sorted = times.toSorted((a, b) => a - b);
  const middle = quantile(sorted, 0.5);
  const text = `p50 ${middle.toFixed(0)} ms, p99 ${quantile(sorted, 0.99).toFixed(0)} ms`;
  return { text, middle };
}

async function throughCat(sandbox: Sandbox): Promise<void> {
  const idle: number[] = [];
  await latencies(sandbox);
  for (let round = 0; round < ROUNDS; round++) idle.push(...(await latencies(sandbox)));
  const block = randomBytes(MIB);
  const sent = createHash('sha256');
  async function* source(): AsyncGenerator<Buffer> {
    for (let i = 0; i < streamed; i++) {
      block.writeUInt32LE(i);
      sent.update(block);
      yield Buffer.from(block);
    }
  }
  using memory = new MemoryWatch();
  const began = performance.now();
  const cat = sandbox.exec(['cat'], { stdin: source() });
  const come = createHash('sha256');
  let over = false;
  const read = (async () => {
    for await (const { data } of cat) come.update(data);
    over = true;
  })();
  const busy: number[] = [];
  while (!over && busy.length < ROUNDS * OTHERS) busy.push(...(await latencies(sandbox)));
  await read;
  console.log(`through cat: ${rate(streamed, began)}, ${memory.check('through cat')}`);
  compare('through cat', sent.digest('hex'), come.digest('hex'));
  const [before, meanwhile] = [told(idle), told(busy)];
  console.log(`  ${OTHERS} commands at a time, idle:      ${before.text}`);
  const times = meanwhile.middle / before.middle;
  console.log(`  ${OTHERS} commands at a time, meanwhile: ${meanwhile.text}: ${times.toFixed(1)}`);
  if (times > SLOWER) failures.push(`through cat: others wait ${times.toFixed(1)} times as long`);
}

async function copyOut(sandbox: Sandbox, folder: string): Promise<void> {
  // Holes of tmpfs take no memory: the guest need not hold what it sends.
  await sandbox.exec('mkdir -p /tmp/large && mount -t tmpfs -o size=4g tmpfs /tmp/large', {
    check: true,
  });
  const piece = randomBytes(MIB);
  const sent = createHash('sha256');
  const hole = Buffer.alloc(MIB);
  const every = 64;
  await sandbox.files.writeFile('/tmp/piece', piece);
  const copies = `for at in $(seq 0 ${every} ${copied - 1}); do
    dd if=/tmp/piece of=/tmp/large/file bs=1M seek=$at conv=notrunc 2>/dev/null; done`;
  await sandbox.exec(`${copies}; truncate -s ${copied}M /tmp/large/file`, { check: true });
  for (let at = 0; at < copied; at++) sent.update(at % every === 0 ? piece : hole);
  using memory = new MemoryWatch();
  const began = performance.now();
  const path = join(folder, 'file');
  await sandbox.files.copyOut('/tmp/large/file', path);
  console.log(`copied out: ${rate(copied, began)}, ${memory.check('copied out')}`);
  const come = createHash('sha256');
  await pipeline(createReadStream(path), come);
  compare('copied out', sent.digest('hex'), come.digest('hex'));
}

async function listMany(sandbox: Sandbox): Promise<void> {
  const count = thousands * 1000;
  let began = performance.now();
  const make = `mkdir /tmp/many && mount -t tmpfs -o size=2g,nr_inodes=0 tmpfs /tmp/many && cd /tmp/many &&
    seq ${count} | xargs -n 2000 touch; free -k | awk '/Mem/ { print $3 }'`;
  const { stdout } = await sandbox.exec(make, { check: true });
  const made = (performance.now() - began) / 1000;
  using memory = new MemoryWatch();
  began = performance.now();
  let seen = 0;
  let sum = 0;
  for await (const { path } of sandbox.files.opendir('/tmp/many')) {
    seen += 1;
    sum += Number(basename(path));
  }
  const seconds = (performance.now() - began) / 1000;
  console.log(
    `listed: ${seen} files in ${seconds.toFixed(1)} s (made in ${made.toFixed(0)} s, ` +
      `guest uses ${Math.round(Number(stdout) / 1024)} MiB), ${memory.check('listed')}`,
  );
  if (seen !== count || sum !== (count * (count + 1)) / 2) failures.push(`listed: ${seen} files`);
}

const folder = mkdtempSync(join(tmpdir(), 'pando-streams-'));
try {
  await using sandbox = await Sandbox.create({ memory: MEMORY });
  if (streamed > 0) await throughCat(sandbox);
  if (copied > 0) await copyOut(sandbox, folder);
  if (thousands > 0) await listMany(sandbox);
} finally {
  rmSync(folder, { recursive: true });
}
for (const failure of failures) console.log(`failed: ${failure}`);
process.exitCode = failures.length > 0 ? 1 : 0;
