/** Thread entry: runs one vCPU of KVM at a time, for one VM after the other, until told to stop. */

import { guestBytesAt } from '../../accel/kvm/exit-error.js';
import { VM_CONTROL, vcpuWords, WORD_STILL } from '../../accel/kvm/layout.js';
import { KvmVcpu } from '../../accel/kvm/vcpu.js';
import { receiveMessageOnPort, startOf } from '../../platform/threads.js';
import { REQUEST_DETACH, REQUEST_HOLD, REQUEST_PARK, VmControl } from '../control.js';
import type { Ending } from '../execution.js';
import { failureEvent, Reporter } from '../reporter.js';
import { attachKvmBoard } from './board.js';
import type { VcpuEvent } from './vcpu-event.js';
import type {
  VcpuAssignment,
  VcpuThreadCommand,
  VcpuThreadEvent,
  VcpuThreadStart,
} from './vcpu-threads.js';

const { commandCount, commands, events } = startOf<VcpuThreadStart>();
const sent = new Int32Array(commandCount);

function say(event: VcpuEvent): void {
  events.postMessage({ kind: 'vcpu', event } satisfies VcpuThreadEvent);
}

/** The vCPU's own run loop; returns once the VM has no more use for this thread. */
function serve({ vm, vcpu: id }: VcpuAssignment): void {
  const control = new VmControl(vm.control, VM_CONTROL);
  const words = vcpuWords(vm.control, id);
  let ending: Ending | undefined;
  const reporter = new Reporter(control, say, (event) => {
    ending ??= event;
  });
  const board = attachKvmBoard(vm, control, reporter.hooks());
  const guestBytes = guestBytesAt(vm.ramHostAddress, vm.ramBytes);
  const vcpus = vm.vcpus.map(
    (handle) =>
      new KvmVcpu({ ...handle, thread: vcpuWords(vm.control, handle.id) }, board, guestBytes),
  );
  const vcpu = vcpus[id]!;
  vcpu.adopt();
  /** The run for which this thread has said that it is parked. */
  let announced = -1;

  const standStill = (seen: number): void => {
    Atomics.store(words, WORD_STILL, 1);
    Atomics.notify(words, WORD_STILL);
    control.waitForChange(seen);
    Atomics.store(words, WORD_STILL, 0);
  };
  /** Ends the run of this number; the VM may be in the next one already when `event` is `parked`. */
  const finish = (epoch: number, event: Ending): void => {
    announced = epoch;
    if (event.kind !== 'parked') control.request(REQUEST_PARK);
    if (event.kind !== 'parked') for (const other of vcpus) if (other !== vcpu) other.kick();
    say({ kind: 'stopped', epoch: announced, event });
  };
  const runOnce = (): void => {
    if (id === 0) reporter.entering();
    const stop = vcpu.run(1);
    if (stop === 'kick') return;
    reporter.console(board);
    if (stop === 'shutdown') ending ??= { kind: 'shutdown', vcpu: id };
    const deadline = board.nextDeadline();
    if (deadline < control.deadline) {
      control.deadline = deadline;
      say({ kind: 'timer' });
    }
  };

  for (;;) {
    const seen = control.changes();
    const { requests, epoch } = control.orders();
    if (requests & REQUEST_DETACH) break;
    try {
      if (ending !== undefined) {
        const event = ending;
        ending = undefined;
        finish(epoch, event);
      } else if (requests & REQUEST_PARK) {
        if (announced !== epoch) {
          vcpu.settle();
          // An exit that was under way may have ended the run.
          if (ending === undefined) finish(epoch, { kind: 'parked' });
        } else standStill(seen);
      } else if (requests & REQUEST_HOLD) {
        vcpu.settle();
        standStill(seen);
      } else runOnce();
    } catch (error) {
      ending = failureEvent(error);
    }
  }
  vcpu.abandon();
  Atomics.store(words, WORD_STILL, 1);
  Atomics.notify(words, WORD_STILL);
}

for (let done = 0; ; ) {
  const received = receiveMessageOnPort(commands);
  if (!received) {
    Atomics.wait(sent, 0, done);
    continue;
  }
  done += 1;
  const command = received.message as VcpuThreadCommand;
  if (command.kind === 'stop') break;
  try {
    serve(command.assignment);
  } catch (error) {
    say({ kind: 'failed', event: failureEvent(error) });
  }
  events.postMessage({ kind: 'detached' } satisfies VcpuThreadEvent);
}
commands.close();
events.close();
