/**
 * `pando bench boot`: boots one VM at a time, the systems in turn, and notes when each stage came. Cold: a
 * process of its own from its start on. Warm: a process that has VMs already, paused, from the moment it
 * is asked for one more.
 */
import { availableParallelism } from 'node:os';
import { QemuPeer } from '../debug/qemu-peer.js';
import { VmProcess } from '../fleet/process.js';
import type { ProgressSink } from '../image/progress.js';
import type { StageName } from '../run/types.js';
import type { VmOptions } from '../vm/types.js';
import { BootGroup } from './boot-group.js';
import { type BootReport, type BootRun, type BootSeries, summariseRuns } from './boot-series.js';
import { peerOptions, USER_SPACE_STAGE, within } from './fleet.js';
import type { SeriesName } from './footprint-report.js';
import { type BootFlags, parseBootOptions } from './options.js';
import { openSubject, seriesOf } from './subject.js';
import { warmUp } from './warm-up.js';

/** Milliseconds from an origin, and how each stage was seen. */
interface Boot {
  readonly run: BootRun;
  readonly sources: Partial<Record<StageName, string>>;
}

/** One system in one kind of process, being measured. */
interface Bench {
  readonly series: SeriesName;
  readonly process: 'cold' | 'warm';
  readonly origin: string;
  boot(): Promise<Boot>;
  close(): Promise<void>;
}

function collect(
  stages: readonly { name: StageName; at: number; source: string }[],
  origin: number,
): Boot {
  const run: Partial<Record<StageName, number>> = {};
  const sources: Partial<Record<StageName, string>> = {};
  for (const { name, at, source } of stages) {
    run[name] = at - origin;
    sources[name] = source;
  }
  return { run, sources };
}

/** What is booted, to which stage, and how long one boot may take in milliseconds. */
interface Subject {
  readonly vm: VmOptions;
  readonly until: StageName;
  readonly limit: number;
}

function coldBench(series: SeriesName, { vm, until, limit }: Subject): Bench {
  return {
    series,
    process: 'cold',
    origin: 'just before the start of the process',
    boot: async () => {
      const host = new VmProcess();
      try {
        const boot = new BootGroup(host, 1, vm, until);
        await within(boot.reached, limit, series.title);
        return collect(boot.stages, host.started);
      } finally {
        host.kill();
        await host.ended;
      }
    },
    close: async () => undefined,
  };
}

async function warmBench(series: SeriesName, { vm, until, limit }: Subject): Promise<Bench> {
  const host = new VmProcess();
  const boot = async (): Promise<Boot> => {
    const started = new BootGroup(host, 1, vm, until);
    await within(started.reached, limit, series.title);
    await started.close();
    return collect(started.stages, started.begun);
  };
  try {
    // Paused VMs, as many as there are workers: a process that already has VMs.
    const others = new BootGroup(host, availableParallelism(), vm, until);
    await within(others.reached, limit, series.title);
    await others.pause();
    await boot();
  } catch (cause) {
    await host.close();
    throw cause;
  }
  return {
    series,
    process: 'warm',
    origin: 'the call that makes the VM, in a process that has others (paused)',
    boot,
    close: () => host.close(),
  };
}

function qemuBench(series: SeriesName, { vm, until, limit }: Subject): Bench {
  return {
    series,
    process: 'cold',
    origin: 'just before the start of the process',
    boot: async () => {
      const peer = new QemuPeer(peerOptions(vm, until));
      try {
        await within(peer.reached, limit, series.title);
        const stages = peer.stages.map(({ name, ms, source }) => ({ name, at: ms, source }));
        return collect(stages, 0);
      } finally {
        await peer.close();
      }
    },
    close: async () => undefined,
  };
}

/**
 * Boots everything that the flags ask for; runs of different systems take turns, so that whatever else
 * the machine does meets all of them.
 * @throws PandoError
 */
export async function benchBoot(
  flags: BootFlags,
  command: string,
  say: ProgressSink,
): Promise<BootReport> {
  const options = parseBootOptions(flags);
  const { until, timeoutMs: limit } = options;
  const opened = await openSubject(flags, options, command, until);
  const benches: Bench[] = [];
  try {
    if (until === USER_SPACE_STAGE) await warmUp(opened, limit, say);
    for (const series of seriesOf(['shared'], options.load, options.against, opened.accelerator)) {
      if (series.system === 'qemu') {
        benches.push(qemuBench(series, { vm: opened.vm, until, limit }));
        continue;
      }
      const subject = { vm: { ...opened.vm, load: series.load ?? 'map' }, until, limit };
      const title = (process: string): string =>
        `Pando ${series.accelerator}, ${process} process, images ${series.load === 'map' ? 'mapped' : 'read'}`;
      const named = (process: 'cold' | 'warm'): SeriesName => ({
        ...series,
        key: `pando-${process}-${series.load}`,
        title: title(process),
      });
      benches.push(coldBench(named('cold'), subject));
      say(`${title('warm')}: warming up`);
      benches.push(await warmBench(named('warm'), subject));
    }
    const boots = benches.map((): Boot[] => []);
    for (let run = 0; run < options.runs; run++) {
      for (const [index, bench] of benches.entries()) {
        const fraction = (run * benches.length + index) / (options.runs * benches.length);
        say(`run ${run + 1} of ${options.runs}: ${bench.series.title}`, fraction);
        boots[index]?.push(await bench.boot());
      }
    }
    const series = benches.map((bench, index): BootSeries => {
      const runs = boots[index]?.map(({ run }) => run) ?? [];
      const sources = Object.assign({}, ...(boots[index] ?? []).map((boot) => boot.sources));
      return {
        ...bench.series,
        process: bench.process,
        origin: bench.origin,
        runs,
        stages: summariseRuns(runs, sources),
      };
    });
    return { kind: 'boot', host: opened.host, subject: opened.subject, series };
  } finally {
    for (const bench of benches) await bench.close();
    opened.images.close();
  }
}
