/**
 * A virtual machine, as the program that runs it sees it. The guest runs on the process's worker
 * threads (pool.ts); this object lives on the thread that created it.
 */
import type { Duplex } from 'node:stream';
import type { VsockHost } from '../backend/vsock-host.js';
import { PandoError } from '../error.js';
import type { ImagePart } from '../loader/plan.js';
import { keepHeap, trimHeap } from '../memory/heap.js';
import { accountSharing, type Sharing } from '../memory/sharing.js';
import { discardZeroPages } from '../memory/zero-pages.js';
import { hostNanoseconds } from '../platform/clock.js';
import { isOwnProcess } from '../platform/own-process.js';
import { chooseAccelerator } from '../run/accelerators.js';
import { deduplicatedPath, profilePath } from '../run/boot-gains.js';
import { checkCopies, reopenDevices } from '../run/device-copies.js';
import { closeDevices, NO_DEVICES, openDevices } from '../run/devices.js';
import type { MachineEvent, MachineListener } from '../run/execution.js';
import { closeStart, Guest, type GuestOptions, type GuestStart } from '../run/guest.js';
import { type GuestImages, openImages } from '../run/images.js';
import { VcpuThreads } from '../run/kvm/vcpu-threads.js';
import { type FinalCause, type LifeActions, Lifecycle } from '../run/lifecycle.js';
import { failureEvent } from '../run/reporter.js';
import type { LinkStatistics, PublishedAddress } from '../run/vm-network.js';
import { WorkerPool } from '../run/wasm/pool.js';
import { type HeldSnapshot, holdSnapshot } from '../snapshot/held-snapshots.js';
import { checkSnapshotName, type SnapshotManifest } from '../snapshot/manifest.js';
import { openSnapshotDevices } from '../snapshot/snapshot-devices.js';
import { writeSnapshot } from '../snapshot/write-snapshot.js';
import { coded } from '../system-error.js';
import { ConsoleInput } from './console-input.js';
import { type ConsoleListener, ConsoleOutput } from './console-output.js';
import { consoleStream } from './console-stream.js';
import { placeOf, unwatch, watch } from './dropped.js';
import { endedError } from './ended.js';
import { call } from './listeners.js';
import { checkOptions, defaultCpu, wasmRefusal } from './options.js';
import { RingSource } from './ring-source.js';
import type {
  AcceleratorName,
  CloneOptions,
  LoadMode,
  RestoreOptions,
  SnapshotOptions,
  Stage,
  VcpuState,
  VmExit,
  VmMemory,
  VmOptions,
} from './types.js';

const DEFAULT_MEMORY = 1 << 30;

/** How long after user space began the guest's pages of zeros are discarded, in milliseconds. */
export const TRIM_DELAY = 1500;
/** Milliseconds between two looks at the heaps, which are the whole process's, at least. */
const HEAP_TRIM_INTERVAL = 1000;
let heapsTrimmed = Number.NEGATIVE_INFINITY;
/** Milliseconds from a trim to the second look at the heaps. */
const HEAP_TRIM_DELAY = 3000;

let created = 0;
/** VMs that run, or will: their ends are to be heard, whoever still holds them. */
const running = new Set<Vm>();

/** What `Vm.create` found out before the object exists. */
interface VmParts {
  readonly images: GuestImages;
  readonly options: GuestOptions;
  /** Makes the guest; what its machine says goes to the listener. */
  readonly makeGuest: (listener: MachineListener) => Guest;
  /** Where it was asked for. */
  readonly place: string;
}

export class Vm implements AsyncDisposable {
  /** Unique in the process, from 0. */
  readonly id: number = created++;
  /** What runs the guest. */
  readonly accelerator: AcceleratorName;
  readonly load: LoadMode;
  /** Settles when the VM has ended; never rejects. */
  readonly exited: Promise<VmExit>;
  readonly #images: GuestImages;
  readonly #release: () => Promise<void>;
  readonly #options: GuestOptions;
  readonly #guest: Guest;
  readonly #stages: Stage[] = [];
  readonly #source: RingSource;
  readonly #output: ConsoleOutput;
  readonly #input: ConsoleInput;
  readonly #stageListeners = new Set<(stage: Stage) => void>();
  #settle: (exit: VmExit) => void = () => {};
  #exit: VmExit | undefined;
  readonly #life: Lifecycle;
  readonly #actions: LifeActions = {
    start: () => {
      running.add(this);
      return this.#guest.execution.start();
    },
    park: () => this.#guest.execution.park(),
    rest: () => {
      running.delete(this);
      this.#guest.control.stopTime();
    },
    restart: () => this.#restart(),
    ended: (cause) => this.#ended(cause),
  };
  #closed: Promise<void> | undefined;
  #trimming: NodeJS.Timeout | undefined;
  #heapTrim: NodeJS.Timeout | undefined;

  /**
   * Places the images and builds the machine; the guest does not run yet.
   * @throws PandoError for options, images and memory that do not fit
   */
  static async create(options: VmOptions | RestoreOptions): Promise<Vm> {
    const place = placeOf(Vm.create);
    if ('snapshot' in options) return Vm.restore(options);
    return withCodes(() => {
      checkOptions(options);
      options.signal?.throwIfAborted();
      return Vm.#create(options, place);
    });
  }

  static async #create(options: VmOptions, place: string): Promise<Vm> {
    const { memory = DEFAULT_MEMORY, cpus = 1, signal } = options;
    const accelerator = chooseAccelerator(
      options.accelerator ?? 'auto',
      wasmRefusal(options.cpu, memory, cpus),
    );
    const {
      commandLine = '',
      cpu = defaultCpu(accelerator),
      tier = 'auto',
      load = 'map',
      reboot = true,
    } = options;
    const pool = WorkerPool.shared();
    if (accelerator === 'kvm') VcpuThreads.shared().prepare(cpus);
    else if (tier !== '0') {
      if (isOwnProcess()) keepHeap();
      pool.prepare();
    }
    const arrived = pool.expect();
    let images: GuestImages | undefined;
    let devices = NO_DEVICES;
    try {
      images = openImages({
        kernel: options.kernel,
        initrd: options.initrd,
        modules: options.modules,
        pmem: options.pmem,
        memory,
        immutable: options.immutableImages ?? false,
      });
      devices = await openDevices(options, images.pmem);
      const profile = profilePath(images.kernel);
      if (accelerator === 'wasm' && tier !== '0' && profile) pool.prepare(profile);
      const deduplicated =
        load === 'map' && options.deduplicate !== false
          ? deduplicatedPath(images.kernel, { accelerator, memory, cpus, cpu })
          : undefined;
      const guestOptions = {
        accelerator,
        images,
        memory,
        cpus,
        cpu,
        commandLine,
        load,
        tier,
        reboot,
        deduplicated,
        devices,
      };
      const vm = Vm.#of(guestOptions, place);
      vm.#stopAt(signal);
      return vm;
    } catch (error) {
      images?.close();
      closeDevices(devices);
      throw error;
    } finally {
      await arrived();
    }
  }

  static #of(options: GuestOptions, place: string): Vm {
    const { images } = options;
    const makeGuest = (listener: MachineListener): Guest => new Guest(options, listener);
    return new Vm({ images, options, makeGuest, place });
  }

  #stopAt(signal: AbortSignal | undefined): void {
    if (signal === undefined) return;
    // The signal may live longer, and does not hold the VM.
    const self = new WeakRef(this);
    const abort = (): void => void self.deref()?.stop();
    signal.addEventListener('abort', abort, { once: true });
    void this.exited.then(() => signal.removeEventListener('abort', abort));
  }

  private constructor({ images, options, makeGuest, place }: VmParts) {
    this.#images = images;
    this.#options = options;
    this.#life = new Lifecycle(this.#actions, options.reboot);
    this.accelerator = options.accelerator;
    this.load = options.load;
    this.exited = new Promise((resolve) => {
      this.#settle = resolve;
    });
    const guest = makeGuest(Vm.#listener(new WeakRef(this)));
    this.#guest = guest;
    this.#release = releaser(guest, options);
    watch(this, { id: this.id, place, release: this.#release });
    const { control, execution } = guest;
    this.#source = new RingSource(control, execution);
    this.#output = new ConsoleOutput(this.#source);
    this.#input = new ConsoleInput({
      ring: execution.board.serialInput,
      wantRoom: () => control.wantRoom(),
      moved: () => execution.consoleMoved(),
    });
  }

  /** Threads hold it, and it does not hold the VM; a function of its own, for those of one function share what they hold. */
  static #listener(self: WeakRef<Vm>): MachineListener {
    return (event, epoch) => {
      const vm = self.deref();
      if (vm !== undefined) vm.#hear(event, epoch);
    };
  }

  /** How it ended, as `exited`; undefined while it has not. */
  get exit(): VmExit | undefined {
    return this.#exit;
  }

  /** Boot stages seen so far. */
  get stages(): readonly Stage[] {
    return this.#stages;
  }

  /** Ports of the host that lead to the guest; none once it has ended. */
  get published(): readonly PublishedAddress[] {
    return this.#options.devices.network?.counted?.published ?? [];
  }

  /** What the guest has sent and received; undefined without a network of its own that counts. */
  networkStatistics(): LinkStatistics | undefined {
    return this.#options.devices.network?.counted?.statistics();
  }

  /** Lets the guest run (also after pause); without effect once the VM is to end. */
  start(): void {
    this.#life.want('run');
  }

  /**
   * Stops the guest and its time until `start`; resolves once it stands still, or has ended. The guest does
   * not see the pause: its clocks and timers go on from where they stood, so the wall clock that it keeps is
   * behind by the length of the pause. The real-time clock has the host's time: `hwclock --hctosys` in the
   * guest, or a time service, sets the wall clock right.
   */
  pause(): Promise<void> {
    this.#life.want('stand');
    return this.#life.stood();
  }

  /** Ends the VM: `exited` gives `stopped`, unless it ends by itself before. */
  stop(): Promise<void> {
    this.#life.end({ kind: 'stopped' });
    return this.#life.stood();
  }

  /**
   * Gives the pages back to the host that the guest has filled with zeros, and what the engine has decoded;
   * shares the pages that other guests of its image have alike. The guest stands still for some 80 milliseconds. Happens
   * of itself, soon after user space began, in each boot, unless it is called before.
   * @returns how many pages of zeros; 0 once the VM has ended
   */
  async trim(): Promise<number> {
    clearTimeout(this.#trimming);
    const release = await this.#life.hold();
    try {
      return this.#life.state === 'standing' ? this.#trim() : 0;
    } finally {
      release();
    }
  }

  /**
   * Copies of the VM as it stands, each a VM that has not been started; the VM itself goes on. Pages that
   * none of them changes are in memory once. The guest stands still while what it has changed is copied.
   * A disk of mode `cow` goes on from what has been written to it, a network is another one.
   * @param count how many
   * @returns a result for each
   * @throws PandoError VM_ENDED, SNAPSHOT_DEVICES
   */
  async clone(count = 1, { net }: CloneOptions = {}): Promise<PromiseSettledResult<Vm>[]> {
    const place = placeOf(this.clone);
    const { devices } = this.#options;
    checkCopies(devices, net !== undefined);
    const start = await withCodes(() => this.#capture(false));
    const copy = async (index: number): Promise<Vm> => {
      const reopened = await reopenDevices(devices, start.disks, await net?.(index));
      return Vm.#goOn({ ...this.#options, devices: reopened }, start, place);
    };
    try {
      const clones = Array.from({ length: count }, (_, index) => withCodes(() => copy(index)));
      return await Promise.allSettled(clones);
    } finally {
      closeStart(start);
    }
  }

  /**
   * Writes the VM as it stands to the store, under a name. The guest stands still only while what it has
   * changed is copied in memory.
   * @throws PandoError VM_ENDED, SNAPSHOT_DEVICES, SNAPSHOT_EXISTS, SNAPSHOT_NAME_INVALID, SNAPSHOT_IMAGE_NOT_STORED,
   * STORE_WRITE_FAILED
   */
  snapshot(options: SnapshotOptions): Promise<SnapshotManifest> {
    return withCodes(() => this.#snapshot(options));
  }

  async #snapshot({ name, replace = false }: SnapshotOptions): Promise<SnapshotManifest> {
    const { accelerator, memory, cpus, cpu, commandLine, tier, images, devices } = this.#options;
    checkSnapshotName(name);
    checkCopies(devices, true);
    const held = images.share();
    let start: GuestStart | undefined;
    try {
      start = await this.#capture(true);
      const machine = { accelerator, memory, cpus, cpu, commandLine, tier };
      return await writeSnapshot({ name, replace, machine, images: held, devices, start });
    } finally {
      if (start !== undefined) closeStart(start);
      held.close();
    }
  }

  /**
   * A VM that goes on from a snapshot of the store; it has not been started.
   * @throws PandoError SNAPSHOT_…, ACCELERATOR_NONE and what `create` throws
   */
  static restore(options: RestoreOptions): Promise<Vm> {
    const place = placeOf(Vm.restore);
    return withCodes(() => Vm.#restore(options, place));
  }

  static async #restore(
    { snapshot: name, net, reboot = true, signal }: RestoreOptions,
    place: string,
  ): Promise<Vm> {
    signal?.throwIfAborted();
    const arrived = WorkerPool.shared().expect();
    let held: HeldSnapshot | undefined;
    try {
      held = await holdSnapshot(name);
      const { snapshot, images } = held;
      const { machine } = snapshot.manifest;
      chooseAccelerator(machine.accelerator);
      if (machine.accelerator === 'kvm') VcpuThreads.shared().prepare(machine.cpus);
      const profile = profilePath(images.kernel);
      if (machine.accelerator === 'wasm' && machine.tier !== '0') {
        WorkerPool.shared().prepareBehind(profile);
      }
      const devices = await openSnapshotDevices(snapshot, images, net);
      const machineOptions = {
        ...machine,
        images,
        load: 'map',
        reboot,
        deduplicated: undefined,
        devices,
      } as const;
      const vm = await Vm.#goOn(machineOptions, snapshot.start, place);
      vm.#stopAt(signal);
      return vm;
    } finally {
      held?.release();
      await arrived();
    }
  }

  static async #goOn(options: GuestOptions, start: GuestStart, place: string): Promise<Vm> {
    const pool = WorkerPool.shared();
    const arrived = pool.expect();
    const images = options.images.share();
    try {
      return Vm.#of({ ...options, images, start, deduplicated: undefined }, place);
    } catch (error) {
      images.close();
      closeDevices(options.devices);
      throw error;
    } finally {
      await arrived();
    }
  }

  /**
   * The VM as it stands; what it has written becomes a file that it maps itself.
   * @param often whether many are to map it
   */
  async #capture(often: boolean): Promise<GuestStart> {
    const { state } = this.#life;
    if (state !== 'ended' && state !== 'closed') this.#guest.compact();
    const runs = state === 'running' && !often;
    const prepared = runs ? this.#guest.prepareCapture() : undefined;
    const release = await this.#life.hold();
    try {
      if (this.#life.state === 'standing') return this.#guest.capture(often, prepared);
      throw endedError(this.id, this.#exit ?? { kind: 'stopped' });
    } finally {
      release();
      prepared?.copy.close();
    }
  }

  #trim(): number {
    const { memory, fileRanges } = this.#guest;
    const pages = discardZeroPages(memory, fileRanges);
    this.#guest.shareAlike();
    this.#guest.execution.trim();
    trimHeaps();
    // What has become hot is compiled for some time yet, and leaves more.
    clearTimeout(this.#heapTrim);
    this.#heapTrim = setTimeout(trimHeaps, HEAP_TRIM_DELAY).unref();
    return pages;
  }

  #ended(cause: FinalCause): void {
    clearTimeout(this.#trimming);
    this.#guest.control.stopTime();
    const exit = this.#exitOf(cause);
    this.#exit = exit;
    this.#source.end();
    this.#output.drain();
    this.#input.end();
    this.#guest.end(endedError(this.id, exit), exit.kind !== 'error');
    this.#settle(exit);
    running.delete(this);
  }

  #exitOf(cause: FinalCause): VmExit {
    if (cause.kind === 'poweroff') {
      const status = this.#guest.execution.board.guestStatus;
      return status === undefined ? cause : { kind: 'poweroff', status };
    }
    if (cause.kind !== 'shutdown') return cause;
    try {
      return { kind: 'shutdown', vcpu: this.#guest.execution.vcpuState(cause.vcpu) };
    } catch (error) {
      return failureEvent(error);
    }
  }

  #hear(event: MachineEvent, epoch?: number): void {
    switch (event.kind) {
      case 'stage':
        this.#addStage({
          name: event.name,
          ms: (event.at - hostNanoseconds()) / 1e6 + performance.now(),
          source: event.source,
        });
        return;
      case 'console':
        this.#output.drain();
        return;
      case 'room':
        this.#input.feed();
        return;
      case 'doorbell':
        return;
      default:
        this.#life.hear(event, epoch);
    }
  }

  #restart(): void {
    clearTimeout(this.#trimming);
    this.#guest.restart();
  }

  #addStage(stage: Stage): void {
    if (stage.name === 'linux_start_user') {
      clearTimeout(this.#trimming);
      this.#trimming = setTimeout(() => {
        if (!this.#life.wantsToRun) return;
        this.trim().catch((error: unknown) => this.#life.end(failureEvent(error)));
      }, TRIM_DELAY).unref();
    }
    if (this.#stages.some(({ name }) => name === stage.name)) return;
    this.#stages.push(stage);
    for (const listener of this.#stageListeners) call(listener, stage);
  }

  /**
   * Bytes, or a text in UTF-8, for the guest's serial console. They are copied.
   * @returns true once the machine has taken all of them, false when the VM ends before. Whoever writes much
   * waits for it: what waits is bounded.
   * @throws PandoError CONSOLE_INPUT_FULL, as a rejection: the write was refused, none of it will arrive
   */
  writeConsole(data: Uint8Array | string): Promise<boolean> {
    return this.#input.write(typeof data === 'string' ? new TextEncoder().encode(data) : data);
  }

  /**
   * Calls `listener` with the serial console's bytes as they come; returns what unsubscribes. When it returns
   * a promise, the next bytes come once that has settled: a reader that is slow slows the guest down, and
   * what waits is bounded. All listeners get the same bytes at the pace of the slowest; without any, what
   * the guest prints is dropped.
   */
  onConsole(listener: ConsoleListener): () => void {
    return this.#output.add(listener);
  }

  /** Resolves once the VM has ended and its readers have taken the last that it printed. */
  consoleDrained(): Promise<void> {
    return new Promise((resolve) => this.#output.onEnd(resolve));
  }

  /**
   * The serial console as a stream of its own: reads what the guest prints from now on, with the back-pressure
   * of `onConsole`, until the VM ends; writes as `writeConsole`. `destroy` disconnects it.
   */
  consoleStream(): Duplex {
    return consoleStream(this.#output, this.#input);
  }

  /** Calls `listener` at each boot stage; returns what unsubscribes. */
  onStage(listener: (stage: Stage) => void): () => void {
    this.#stageListeners.add(listener);
    return () => this.#stageListeners.delete(listener);
  }

  /**
   * Sockets between guest and host (vsock(7)): the host connects to ports of the guest, and listens for
   * connections of the guest to ports of the host (CID 2).
   * @throws PandoError VM_CLOSED, VSOCK_ABSENT without the option `vsock`
   */
  get vsock(): Pick<VsockHost, 'connect' | 'listen'> {
    this.#checkHeld();
    const { vsock } = this.#guest;
    if (vsock !== undefined) return vsock;
    throw new PandoError('VSOCK_ABSENT', `VM ${this.id} has no socket device`, {
      remedy: 'make it with vsock: true',
    });
  }

  /** Presses the power button: asks the guest to shut down, which may ignore it. */
  pressPowerButton(): void {
    if (this.#life.wantsToRun) this.#guest.execution.board.pressPowerButton();
  }

  /** Raises a non-maskable interrupt: a guest that hangs may say where it is. */
  injectNmi(): void {
    if (this.#life.wantsToRun) this.#guest.execution.injectNmi();
  }

  /**
   * Instructions retired so far; 0 where the accelerator does not count them.
   * @throws PandoError VM_CLOSED
   */
  instructions(): bigint {
    this.#checkHeld();
    return this.#guest.execution.instructions();
  }

  /**
   * The guest's time-stamp counter, while the VM runs; undefined where it does not count nanoseconds (kvm).
   * @throws PandoError VM_CLOSED
   */
  timestamp(): bigint | undefined {
    this.#checkHeld();
    return this.#guest.execution.timestamp();
  }

  /**
   * What a vCPU, by its number, is doing now (the VM keeps running).
   * @throws PandoError VM_CLOSED, VCPU_UNKNOWN
   */
  vcpuState(vcpu = 0): VcpuState {
    this.#checkHeld();
    return this.#guest.execution.vcpuState(vcpu);
  }

  /**
   * Asks the guest how it uses its memory: `memory().balloon` has the answer then, if the guest gave one.
   * @param limit milliseconds to wait for it
   * @throws PandoError VM_CLOSED, BALLOON_ABSENT without the option `balloon`
   */
  async refreshStatistics(limit = 1000): Promise<void> {
    this.#checkHeld();
    const { balloon } = this.#guest;
    if (balloon === undefined) {
      throw new PandoError('BALLOON_ABSENT', `VM ${this.id} has no balloon`, {
        remedy: 'make it with balloon: true',
      });
    }
    await balloon.refresh(limit);
  }

  /**
   * Where the VM's memory is, by part of its image.
   * @throws PandoError VM_CLOSED
   */
  memory(): VmMemory {
    this.#checkHeld();
    const sharing = this.#sharing();
    const parts = Object.entries(sharing.parts).map(([part, counts]) => ({
      part: part as ImagePart,
      ...counts,
    }));
    const { fallbacks, balloon } = this.#guest;
    const counted = balloon === undefined ? {} : { balloon: balloon.report };
    return { parts, source: sharing.source, fallbacks, ...counted };
  }

  #sharing(): Sharing {
    try {
      return accountSharing(this.#guest.memory, this.#images.parts);
    } catch (error) {
      throw coded(error);
    }
  }

  /** What held a closed VM may hold another one by now. */
  #checkHeld(): void {
    if (this.#life.state === 'closed') {
      throw new PandoError('VM_CLOSED', `VM ${this.id} has been closed`);
    }
  }

  /** Frees everything; stops the VM first if need be. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    await this.stop();
    clearTimeout(this.#heapTrim);
    this.#life.closed();
    unwatch(this);
    await this.#release();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Errors of the system leave the library as coded ones. */
async function withCodes<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw coded(error);
  }
}

/** What gives everything back, without the VM itself. */
function releaser(guest: Guest, { images, devices }: GuestOptions): () => Promise<void> {
  return async () => {
    try {
      await guest.release();
    } finally {
      images.close();
      closeDevices(devices);
    }
  };
}

/**
 * What booting has left in the process's heaps goes back: malloc's, and where Node.js was started with
 * --expose-gc, as processes of VMs are, JavaScript's of all threads that run VMs or translate.
 */
function trimHeaps(): void {
  const now = performance.now();
  if (now - heapsTrimmed < HEAP_TRIM_INTERVAL) return;
  heapsTrimmed = now;
  globalThis.gc?.();
  WorkerPool.shared().trimHeap();
  trimHeap();
}
