/**
 * What tells clones of one template apart: twice so many sandboxes each read 32 bytes of `/dev/urandom` first
 * thing, make a UUID, and tell their host name and date. All but the date must differ; the date must be the host's
 * within 10 ms, give or take the time of the command. Ends with status 1 when it is not so.
 *
 *     npm run bench -- clone-identity [sandboxes, default 100] [at a time, default 4] [images, default debian]
 *
 * Images with other kernels: pando image pull debian --kernel-package linux-image-amd64 --name debian-amd64
 */
import { Sandbox } from 'pando';

const [count = 100, atATime = 4] = process.argv.slice(2, 4).map(Number);
const images = process.argv.length > 4 ? process.argv.slice(4) : ['debian'];
const SCRIPT =
  'head -c 32 /dev/urandom | od -An -v -tx1 | tr -d " \\n"; echo; cat /proc/sys/kernel/random/uuid; ' +
  'hostname; uname -r; adjtimex | grep -o "time.tv_.*[0-9]"';
const TOLERANCE = 10;
const WHAT = ['random', 'UUID', 'host name'] as const;

/** What the clones of an image say. */
class Said {
  /** By line. */
  readonly lines = WHAT.map((): string[] => []);
  kernel = '';
  /** How far a date is off at most, in milliseconds. */
  off = 0;

  async ask(image: string): Promise<void> {
    await using sandbox = await Sandbox.create({ image });
    const before = Date.now();
    const { stdout } = await sandbox.exec(SCRIPT, { check: true });
    const after = Date.now();
    const lines = stdout.trimEnd().split('\n');
    for (const [index, all] of this.lines.entries()) all.push(lines[index] ?? '');
    this.kernel = lines[WHAT.length] ?? '';
    const [seconds = 0, microseconds = 0] = lines
      .slice(-2)
      .map((line) => Number(line.split(':')[1]));
    const date = seconds * 1000 + microseconds / 1000;
    this.off = Math.max(this.off, before - date, date - after);
  }

  async several(image: string): Promise<void> {
    for (let left = count; left > 0; left -= atATime) {
      await Promise.all(Array.from({ length: Math.min(atATime, left) }, () => this.ask(image)));
    }
  }

  /** Tells what differs; false when something does not, or a date is wrong. */
  report(): boolean {
    console.log(this.kernel);
    const different = this.lines.map((all) => new Set(all).size);
    WHAT.forEach((what, index) => {
      console.log(`${what.padEnd(12)} ${different[index]} different of ${2 * count}`);
    });
    console.log(`${'date'.padEnd(12)} ${Math.max(this.off, 0).toFixed(1)} ms off at most`);
    return different.every((size) => size === 2 * count) && this.off <= TOLERANCE;
  }
}

for (const image of images) {
  const said = new Said();
  await said.several(image);
  await said.several(image);
  if (!said.report()) process.exitCode = 1;
}
