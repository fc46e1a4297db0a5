/**
 * The process whose VMs `pando bench` measures when they share one: it imports the VM and nothing of the
 * command line. Each `boot` makes VMs, `pause` and `close` are for all of that boot; the process ends with its channel.
 */
import { performance } from 'node:perf_hooks';
import { PandoError } from '../error.js';
import type { StageName, VmOptions } from '../vm/types.js';
import { Vm } from '../vm/vm.js';

/** From the command. */
export type ToBenchProcess =
  | {
      readonly type: 'boot';
      readonly boot: number;
      readonly count: number;
      readonly options: VmOptions;
    }
  | { readonly type: 'pause'; readonly boot: number }
  | { readonly type: 'close'; readonly boot: number };

/** To the command. Times are milliseconds since 1970, on this process's own clock. */
export type FromBenchProcess =
  | { readonly type: 'begun'; readonly boot: number; readonly at: number }
  | {
      readonly type: 'stage';
      readonly boot: number;
      readonly vm: number;
      readonly name: StageName;
      readonly at: number;
      readonly source: string;
    }
  | {
      readonly type: 'failed';
      readonly boot: number;
      readonly code: string;
      readonly message: string;
    }
  | { readonly type: 'paused'; readonly boot: number }
  | { readonly type: 'closed'; readonly boot: number };

const boots = new Map<number, Vm[]>();

function send(message: FromBenchProcess): void {
  if (process.connected) process.send?.(message);
}

function fail(boot: number, cause: unknown): void {
  const code = cause instanceof PandoError ? cause.code : 'INTERNAL';
  send({
    type: 'failed',
    boot,
    code,
    message: cause instanceof Error ? cause.message : String(cause),
  });
}

async function run(boot: number, count: number, options: VmOptions): Promise<void> {
  const vms: Vm[] = [];
  boots.set(boot, vms);
  send({ type: 'begun', boot, at: performance.timeOrigin + performance.now() });
  for (let index = 0; index < count; index++) {
    const vm = await Vm.create(options);
    vms.push(vm);
    vm.onStage(({ name, ms, source }) =>
      send({ type: 'stage', boot, vm: index, name, at: performance.timeOrigin + ms, source }),
    );
    void vm.exited.then((exit) => {
      if (exit.kind === 'stopped') return;
      fail(boot, new PandoError('BENCH_GUEST_ENDED', `VM ${index} ended: ${exit.kind}`));
    });
    vm.start();
  }
}

process.on('SIGINT', () => undefined);
process.on('disconnect', () => process.exit(0));
process.on('message', (message: ToBenchProcess) => {
  if (message.type === 'boot') {
    run(message.boot, message.count, message.options).catch((cause) => fail(message.boot, cause));
    return;
  }
  const vms = boots.get(message.boot) ?? [];
  if (message.type === 'pause') {
    void Promise.all(vms.map((vm) => vm.pause())).then(() =>
      send({ type: 'paused', boot: message.boot }),
    );
    return;
  }
  boots.delete(message.boot);
  void Promise.all(vms.map((vm) => vm.close())).then(() =>
    send({ type: 'closed', boot: message.boot }),
  );
});
