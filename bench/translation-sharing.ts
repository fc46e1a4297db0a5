/**
 * What further VMs of one kernel cost the translator: VMs boot Debian one after the other in one process
 * and stay; after each, the translator's time, the regions and bytes it made, and V8's machine code are
 * read. No profile is used.
 *
 *     npm run build && npx tsc -p bench && node dist/benches/translation-sharing.js [VMs, default 4]
 *
 * The exit status is 1 when a further VM took more than 10 % of the first one's translation time, or
 * grew code by more than 15 %.
 */
import type { TranslationCounters } from '#dist/accel/wasm/translate/service.js';
import { ensureImage } from '#dist/image/ensure-image.js';
import { ownProcess } from '#dist/platform/own-process.js';
import { WorkerPool } from '#dist/run/wasm/pool.js';
import { Vm } from '#dist/vm/vm.js';
import { GuestConsole } from './guest-console.js';
import { processFigures } from './process-figures.js';

const TIME_PART = 0.1;
const CODE_PART = 0.15;
const PATIENCE_SECONDS = 300;
const WORK = 'seq 1 20000 | sha256sum; seq 1 20000 | gzip -9 | gunzip | sha256sum';

ownProcess();
const number = Number(process.argv[2] ?? '4');
const image = await ensureImage('debian', { progress: () => {} });
const vms: Vm[] = [];
let first: TranslationCounters | undefined;
let before: TranslationCounters | undefined;
let codeBefore = 0;
let failed = false;
const percent = (part: number, whole: number | undefined): string =>
  `${((100 * part) / (whole ?? part)).toFixed(1)} %`;

for (let index = 1; index <= number; index++) {
  const vm = await Vm.create({
    kernel: image.kernelPath,
    ...(image.initrdPath === undefined ? {} : { initrd: image.initrdPath }),
    commandLine: image.commandLine,
    memory: 256 << 20,
    accelerator: 'wasm',
    tier: '1',
  });
  vms.push(vm);
  const console = new GuestConsole(vm);
  vm.start();
  await console.expect(/user space is up[\s\S]*# /, PATIENCE_SECONDS);
  console.type(`${WORK}; echo do"ne"\n`);
  await console.expect(/\ndone/, PATIENCE_SECONDS);
  const all = await WorkerPool.shared().translations();
  if (all === undefined) throw new Error('there is no translator');
  const { codeMiB } = processFigures();
  const own = {
    asked: all.asked - (before?.asked ?? 0),
    reused: all.reused - (before?.reused ?? 0),
    translated: all.translated - (before?.translated ?? 0),
    bytes: all.bytes - (before?.bytes ?? 0),
    milliseconds: all.milliseconds - (before?.milliseconds ?? 0),
  };
  first ??= all;
  const time = own.milliseconds / first.milliseconds;
  const code = own.bytes / first.bytes;
  globalThis.console.log(
    `VM ${index}: ${own.asked} regions asked for, ${own.reused} there already, ${own.translated} translated in ` +
      `${own.milliseconds.toFixed(0)} ms (${percent(own.milliseconds, first.milliseconds)} of the first), ` +
      `${(own.bytes / 1024).toFixed(0)} KiB of WebAssembly (${percent(own.bytes, first.bytes)}); ` +
      `machine code ${codeMiB.toFixed(1)} MiB (${index === 1 ? 'first' : `+${percent(codeMiB - codeBefore, codeBefore)}`})`,
  );
  if (index > 1 && (time > TIME_PART || code > CODE_PART)) failed = true;
  before = { ...all };
  codeBefore = codeMiB;
}
for (const vm of vms) await vm.close();
console.log(failed ? 'more than 10 % of the time or 15 % of the code' : 'within 10 % and 15 %');
process.exitCode = failed ? 1 : 0;
