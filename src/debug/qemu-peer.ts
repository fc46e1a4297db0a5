/**
 * QEMU as the peer of a comparison: one `qemu-system-x86_64` with the same kernel, initrd, command line
 * and accelerator (QEMU "System Emulation" manual, invocation). Its boot stages are seen from outside:
 * its own trace event when the vCPUs are let go, the first console byte, and the byte that the guest
 * writes to the boot-stage port, which QEMU's isa-debugcon device passes to a pipe.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { performance } from 'node:perf_hooks';
import type { Readable } from 'node:stream';
import { PandoError } from '../error.js';
import { BOOT_STAGES, type StageName } from '../run/types.js';

const PROGRAM = 'qemu-system-x86_64';
/** Descriptor of the pipe that the boot-stage port is connected to. */
const STAGE_FD = 3;
const STDERR_LIMIT = 4096;
/** How much of the console is kept to find a panic in. */
const CONSOLE_LIMIT = 8192;

const running = new Set<ChildProcess>();
// A peer has no channel whose end would tell it that this process has gone.
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** What is booted; the same fields as for Pando's own VMs. */
export interface PeerOptions {
  readonly kernel: string;
  readonly initrd: string | undefined;
  readonly commandLine: string;
  /** Bytes. */
  readonly memory: number;
  /** Name of QEMU's accelerator. */
  readonly accelerator: 'tcg' | 'kvm';
  /** The port, and the value that means user space. */
  readonly stagePort: number;
  readonly userSpaceValue: number;
  /** The stage that `reached` waits for. */
  readonly until: StageName;
}

/** A stage as it was seen, in milliseconds from just before the process was started. */
export interface PeerStage {
  readonly name: StageName;
  readonly ms: number;
  readonly source: string;
}

/** First line of `--version`, or undefined where there is no QEMU. */
export function qemuVersion(program = PROGRAM): string | undefined {
  try {
    return execFileSync(program, ['--version'], { encoding: 'utf8' }).split('\n')[0];
  } catch {
    return undefined;
  }
}

/** The words after the program's name. */
export function qemuArguments(options: Omit<PeerOptions, 'until'>): string[] {
  const megabytes = options.memory / 2 ** 20;
  return [
    ['-machine', `q35,accel=${options.accelerator},sata=off,smbus=off,vmport=off`],
    ...(options.accelerator === 'kvm' ? [['-cpu', 'host']] : []),
    ['-m', `${megabytes}M`, '-smp', '1'],
    ['-vga', 'none', '-display', 'none', '-no-user-config', '-nodefaults', '-no-hpet'],
    ['-no-reboot', '-monitor', 'none', '-serial', 'stdio'],
    ['-chardev', `socket,id=stage,fd=${STAGE_FD}`],
    ['-device', `isa-debugcon,iobase=0x${options.stagePort.toString(16)},chardev=stage`],
    ['-trace', 'vm_state_notify'],
    ['-kernel', options.kernel],
    ...(options.initrd === undefined ? [] : [['-initrd', options.initrd]]),
    ['-append', options.commandLine],
  ].flat();
}

/** A running QEMU. */
export class QemuPeer {
  readonly stages: PeerStage[] = [];
  /** Settles when the wanted stage, or a later one, has been seen; rejects when QEMU ends before. */
  readonly reached: Promise<void>;
  /** Settles when the process has gone. */
  readonly gone: Promise<void>;
  readonly #child: ChildProcess;
  readonly #start = performance.now();
  #stderr = '';
  #console = '';
  readonly #until: StageName;
  #arrive: () => void = () => {};

  /** @throws PandoError QEMU_MISSING by way of `reached` */
  constructor(options: PeerOptions, program = PROGRAM) {
    const child = spawn(program, qemuArguments(options), {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    });
    this.#child = child;
    this.#until = options.until;
    running.add(child);
    this.gone = new Promise((resolve) => {
      const end = (): void => {
        running.delete(child);
        resolve();
      };
      child.once('close', end);
      child.once('error', end);
    });
    const stagePipe = child.stdio[STAGE_FD] as Readable;
    this.reached = new Promise((resolve, reject) => {
      this.#arrive = resolve;
      stagePipe.on('data', (bytes: Buffer) => {
        if (!bytes.includes(options.userSpaceValue)) return;
        const port = `port 0x${options.stagePort.toString(16)} value ${options.userSpaceValue}`;
        this.#see('linux_start_user', `${port}, by isa-debugcon`);
      });
      child.once('error', (cause) => {
        const remedy = 'install it (Debian: qemu-system-x86), or leave --against out';
        reject(new PandoError('QEMU_MISSING', `${program}: ${cause.message}`, { remedy, cause }));
      });
      child.once('close', (status, signal) => {
        const how = signal === null ? `with status ${status}` : `by ${signal}`;
        const message = `${program} ended ${how}: ${this.#stderr.trim()}`;
        reject(new PandoError('QEMU_ENDED', message));
      });
      child.stdout?.setEncoding('latin1').on('data', (text: string) => {
        this.#see('linux_start_kernel', 'first console byte');
        this.#console = (this.#console + text).slice(-CONSOLE_LIMIT);
        const panic = /Kernel panic[^\r\n]*/.exec(this.#console);
        if (panic) reject(new PandoError('QEMU_GUEST_PANIC', `QEMU's guest: ${panic[0]}`));
      });
    });
    // Whoever does not wait for the stage does not want to hear that it never came.
    this.reached.catch(() => undefined);
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_LIMIT);
      if (/vm_state_notify running 1/.test(this.#stderr)) {
        this.#see('vmm_init_end', 'trace event vm_state_notify (running)');
      }
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  #see(name: PeerStage['name'], source: string): void {
    if (this.stages.some((stage) => stage.name === name)) return;
    this.stages.push({ name, ms: performance.now() - this.#start, source });
    if (BOOT_STAGES.indexOf(name) >= BOOT_STAGES.indexOf(this.#until)) this.#arrive();
  }

  /** Ends the process. */
  async close(): Promise<void> {
    this.#child.kill('SIGTERM');
    await this.gone;
  }
}
