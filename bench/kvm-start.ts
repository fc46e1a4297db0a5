/**
 * How long it takes to the first KVM_RUN: Pando in a warm process and in a cold one, QEMU in its own,
 * with the same kernel, taking turns. All files are in the page cache.
 *
 *     npm run build && npx tsc -p bench && node dist/benches/kvm-start.js KERNEL [ROUNDS] [WARM]
 *
 * Pando warm: from the call of Vm.create in a process that has had VMs. Pando cold: from just before a
 * process is started that makes one VM. QEMU: from just before it is started to its trace event
 * kvm_vcpu_ioctl with KVM_RUN. Each warm round also times the kernel's part alone: the requests on
 * /dev/kvm that make a VM with one vCPU, one after the other.
 */
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { KVM } from '#dist/accel/kvm/api.js';
import { writeEntryState } from '#dist/accel/kvm/registers.js';
import { BareVm } from '#dist/accel/kvm/testing/bare-vm.js';
import { pvhEntryState } from '#dist/arch/entry-state.js';
import { BOOT_STAGE_PORT, HIGH_RAM_START } from '#dist/arch/layout.js';
import { BootGroup } from '#dist/bench/boot-group.js';
import { qemuArguments, qemuVersion } from '#dist/debug/qemu-peer.js';
import { VmProcess } from '#dist/fleet/process.js';
import type { VmOptions } from '#dist/vm/types.js';

const [kernel = '', roundsText = '5', warmText = '21'] = process.argv.slice(2);
if (kernel === '') throw new Error('usage: kvm-start KERNEL [ROUNDS] [WARM]');
const rounds = Number(roundsText);
const MEMORY = 2 ** 30;
const LIMIT = 20_000;
const QEMU = 'qemu-system-x86_64';

const options: VmOptions = {
  kernel,
  memory: MEMORY,
  accelerator: 'kvm',
  commandLine: 'console=ttyS0',
};

/** Makes and ends a VM in a process; milliseconds of cold and of warm start. */
async function start(host: VmProcess): Promise<{ readonly cold: number; readonly warm: number }> {
  const boot = new BootGroup(host, 1, options, 'vmm_init_end');
  const given = sleep(LIMIT, undefined, { ref: false });
  await Promise.race([boot.reached, given]);
  const [entered] = boot.stages;
  if (entered === undefined) throw new Error('the VM did not start');
  await boot.close();
  return { cold: entered.at - host.started, warm: entered.at - boot.begun };
}

/** Milliseconds until QEMU enters its vCPU for the first time. */
function qemu(): Promise<number> {
  const words = qemuArguments({
    kernel,
    initrd: undefined,
    commandLine: 'console=ttyS0',
    memory: MEMORY,
    accelerator: 'kvm',
    stagePort: BOOT_STAGE_PORT,
    userSpaceValue: 7,
  });
  // Hosts that are VMs themselves may refuse the MSR behind it, and QEMU gives up then.
  words[words.indexOf('-cpu') + 1] = 'host,arch-capabilities=off';
  words.push('-trace', 'kvm_vcpu_ioctl');
  const firstRun = new RegExp(`kvm_vcpu_ioctl .*type 0x${KVM.KVM_RUN.toString(16)}`);
  const began = performance.now();
  const child = spawn(QEMU, words, { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] });
  let text = '';
  let took: number | undefined;
  child.stderr?.setEncoding('utf8').on('data', (more: string) => {
    if (took !== undefined) return;
    text += more;
    if (!firstRun.test(text)) return;
    took = performance.now() - began;
    child.kill('SIGKILL');
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () => {
      if (took === undefined) reject(new Error(`QEMU ended before its vCPU ran: ${text}`));
      else resolve(took);
    });
  });
}

/** Milliseconds of the kernel's part: a VM with one vCPU in its entry state, nothing around it. */
function requests(): number {
  const began = performance.now();
  using vm = new BareVm(MEMORY);
  writeEntryState(vm.owner.handle.fd, pvhEntryState(HIGH_RAM_START));
  return performance.now() - began;
}

function line(name: string, values: number[]): string {
  const sorted = [...values].sort((a, b) => a - b);
  const text = (value = Number.NaN): string => value.toFixed(2).padStart(8);
  return `${name.padEnd(42)}${text(sorted[sorted.length >> 1])}${text(sorted[0])}${text(sorted.at(-1))}`;
}

const version = qemuVersion();
const coldTimes: number[] = [];
const qemuTimes: number[] = [];
for (let round = 0; round < rounds; round += 1) {
  const host = new VmProcess();
  try {
    coldTimes.push((await start(host)).cold);
  } finally {
    await host.close();
  }
  if (version !== undefined) qemuTimes.push(await qemu());
}
const warmTimes: number[] = [];
const requestTimes: number[] = [];
requests();
const host = new VmProcess();
try {
  // The first VMs of a process compile what the others find compiled.
  for (let i = 0; i < 5; i += 1) await start(host);
  for (let i = 0; i < Number(warmText); i += 1) {
    warmTimes.push((await start(host)).warm);
    requestTimes.push(requests());
  }
} finally {
  await host.close();
}
console.log(`first KVM_RUN, ms, guest of 1 GiB${' '.repeat(9)}  median    best   worst`);
console.log(line('Pando, warm process (from Vm.create)', warmTimes));
console.log(line('  its requests on /dev/kvm alone', requestTimes));
console.log(line('Pando, cold (from the start of Node.js)', coldTimes));
if (version === undefined) console.log('QEMU is not installed: no comparison');
else console.log(line('QEMU, cold (it has no other)', qemuTimes));
if (version !== undefined) console.log(version);
