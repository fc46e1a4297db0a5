/**
 * Serves VMs to the process that forked this one. They end with it: when the channel closes, however the
 * other process ended, this one closes its VMs and leaves.
 */
import { PandoError, traceOf } from '../error.js';
import { coded } from '../system-error.js';
import type { CreateVm, VmHandle } from './fleet-vm.js';
import type {
  ErrorMessage,
  FromVmProcess,
  ToVmProcess,
  VmDescription,
  VmRequest,
} from './messages.js';
import { observeVm } from './observation.js';

/** The part of `process` that a forked process talks through. */
export interface Channel {
  send?(message: FromVmProcess): unknown;
  readonly connected: boolean;
  on(event: 'message', listener: (message: ToVmProcess) => void): unknown;
  on(event: 'disconnect', listener: () => void): unknown;
}

function errorMessage(thrown: unknown): ErrorMessage {
  const cause = coded(thrown);
  if (cause instanceof PandoError) {
    return { code: cause.code, message: cause.message, remedy: cause.remedy };
  }
  return { code: 'VM_PROCESS_BUG', message: traceOf(cause), remedy: undefined };
}

const now = (): number => performance.timeOrigin + performance.now();

/**
 * @param leave ends this process; called once, after all VMs are closed
 */
export function serveVms(channel: Channel, createVm: CreateVm, leave: () => void): void {
  const vms = new Map<number, VmHandle>();
  /** By VM: what lets its console go on. */
  const taken = new Map<number, () => void>();
  let ending = false;

  const send = (message: FromVmProcess): void => {
    if (channel.connected) channel.send?.(message);
  };

  const answer = async (request: number, work: () => unknown): Promise<void> => {
    try {
      send({ type: 'answer', request, value: await work() });
    } catch (cause) {
      send({ type: 'refusal', request, error: errorMessage(cause) });
    }
  };

  const end = async (): Promise<void> => {
    if (ending) return;
    ending = true;
    await Promise.allSettled([...vms.values()].map((vm) => vm.close()));
    leave();
  };

  const create = async ({
    vm,
    options,
  }: ToVmProcess & { type: 'create' }): Promise<VmDescription> => {
    const begun = now();
    const made = await createVm(options);
    if (ending) {
      await made.close();
      throw new PandoError('VM_CLOSED', `VM ${vm} was closed while it was made`);
    }
    vms.set(vm, made);
    made.onConsole((bytes) => {
      send({ type: 'output', vm, bytes });
      return new Promise<void>((resolve) => taken.set(vm, resolve));
    });
    void made.consoleDrained().then(() => send({ type: 'output-end', vm }));
    made.onStage((stage) => send({ type: 'stage', vm, stage }));
    void made.exited.then((exit) => send({ type: 'exited', vm, exit }));
    const { accelerator, load } = made;
    return { accelerator, load, begun, timeOrigin: performance.timeOrigin };
  };

  const ask = (vm: number, what: VmRequest): unknown => {
    const asked = vms.get(vm);
    if (asked === undefined) throw new PandoError('VM_CLOSED', `VM ${vm} has been closed`);
    if (what === 'observe') return observeVm(asked);
    if (what === 'close') {
      vms.delete(vm);
      taken.delete(vm);
    }
    return asked[what]();
  };

  send({ type: 'ready' });
  channel.on('disconnect', () => void end());
  channel.on('message', (message) => {
    switch (message.type) {
      case 'create':
        void answer(message.request, () => create(message));
        break;
      case 'ask':
        void answer(message.request, () => ask(message.vm, message.what));
        break;
      case 'tell':
        vms.get(message.vm)?.[message.what]();
        break;
      case 'input':
        void answer(
          message.request,
          async () => (await vms.get(message.vm)?.writeConsole(message.bytes)) ?? false,
        );
        break;
      case 'output-taken':
        taken.get(message.vm)?.();
        break;
      case 'end':
        void end();
        break;
    }
  });
}
