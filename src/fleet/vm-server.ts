/**
 * Serves one VM to the process that forked this one. The VM ends with its parent: when the channel
 * closes, however the parent ended, this process closes the VM and leaves.
 */
import { PandoError } from '../error.js';
import { type CreateVm, observeVm, type VmHandle } from './fleet-vm.js';
import type { ErrorMessage, FromVmProcess, ToVmProcess } from './messages.js';

/** The part of `process` that a forked process talks through. */
export interface Channel {
  send?(message: FromVmProcess): unknown;
  readonly connected: boolean;
  on(event: 'message', listener: (message: ToVmProcess) => void): unknown;
  on(event: 'disconnect', listener: () => void): unknown;
}

function errorMessage(cause: unknown): ErrorMessage {
  if (cause instanceof PandoError) {
    return { code: cause.code, message: cause.message, remedy: cause.remedy };
  }
  const text = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
  return { code: 'VM_PROCESS_BUG', message: text, remedy: undefined };
}

/**
 * @param leave ends this process; called once, after the VM is closed
 */
export function serveVm(channel: Channel, createVm: CreateVm, leave: () => void): void {
  let vm: VmHandle | undefined;
  let closing = false;

  const send = (message: FromVmProcess): void => {
    if (channel.connected) channel.send?.(message);
  };

  const close = async (): Promise<void> => {
    if (closing) return;
    closing = true;
    await vm?.close();
    leave();
  };

  const create = async (message: ToVmProcess & { type: 'create' }): Promise<void> => {
    try {
      const made = await createVm(message.options);
      if (closing) {
        await made.close();
        return;
      }
      vm = made;
      made.onConsole((bytes) => send({ type: 'output', bytes }));
      made.onStage((stage) => send({ type: 'stage', stage }));
      void made.exited.then((exit) => send({ type: 'exited', exit }));
      send({ type: 'created', accelerator: made.accelerator, load: made.load });
    } catch (cause) {
      send({ type: 'failed', error: errorMessage(cause) });
    }
  };

  const observe = (request: number): void => {
    try {
      if (vm !== undefined) send({ type: 'observed', request, observation: observeVm(vm) });
    } catch (cause) {
      send({ type: 'unobserved', request, error: errorMessage(cause) });
    }
  };

  channel.on('disconnect', () => void close());
  channel.on('message', (message) => {
    switch (message.type) {
      case 'create':
        void create(message);
        break;
      case 'start':
        vm?.start();
        break;
      case 'stop':
        void vm?.stop();
        break;
      case 'input':
        vm?.writeConsole(message.bytes);
        break;
      case 'observe':
        observe(message.request);
        break;
      case 'close':
        void close();
        break;
    }
  });
}
