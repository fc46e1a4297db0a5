/**
 * A VM that is made when its turn comes. Whoever watches it subscribes before, so that no byte and no
 * stage is missed.
 */
import { PandoError } from '../error.js';
import type { ConsoleListener } from '../vm/console-output.js';
import type { AcceleratorName, LoadMode, Stage, VmExit } from '../vm/types.js';
import type { FleetVm } from './fleet-vm.js';
import type { Observation } from './observation.js';

/** Stands for the process of a VM that has not been made: no process has this number. */
export const NOT_MADE = 0;

/** A listener that is connected when there is something to listen to. */
class Subscriptions<Listener> {
  private readonly waiting = new Map<object, Listener>();
  private readonly connected = new Map<object, () => void>();
  private source: ((listener: Listener) => () => void) | undefined;

  add(listener: Listener): () => void {
    const key = {};
    if (this.source === undefined) this.waiting.set(key, listener);
    else this.connected.set(key, this.source(listener));
    return () => {
      this.waiting.delete(key);
      this.connected.get(key)?.();
      this.connected.delete(key);
    };
  }

  connect(source: (listener: Listener) => () => void): void {
    this.source = source;
    for (const [key, listener] of this.waiting) this.connected.set(key, source(listener));
    this.waiting.clear();
  }
}

export class PlannedVm implements FleetVm {
  readonly exited: Promise<VmExit>;
  private readonly console = new Subscriptions<ConsoleListener>();
  private readonly stageEvents = new Subscriptions<(stage: Stage) => void>();
  private settle!: (exit: VmExit) => void;
  private made: FleetVm | undefined;
  private making: Promise<void> | undefined;
  private closing = false;

  /** @param make makes the VM itself */
  constructor(
    readonly index: number,
    private readonly make: () => Promise<FleetVm>,
  ) {
    this.exited = new Promise((resolve) => {
      this.settle = resolve;
    });
  }

  /**
   * Makes the VM, unless it is closed.
   * @throws PandoError what making it throws
   */
  create(): Promise<void> {
    this.making ??= this.closing ? Promise.resolve() : this.build();
    return this.making;
  }

  private async build(): Promise<void> {
    const vm = await this.make();
    this.made = vm;
    this.console.connect((listener) => vm.onConsole(listener));
    this.stageEvents.connect((listener) => vm.onStage(listener));
    void vm.exited.then(this.settle);
  }

  /** NOT_MADE before the VM is made. */
  get pid(): number {
    return this.made?.pid ?? NOT_MADE;
  }

  get accelerator(): AcceleratorName {
    return this.made?.accelerator ?? 'wasm';
  }

  get load(): LoadMode {
    return this.made?.load ?? 'map';
  }

  get stages(): readonly Stage[] {
    return this.made?.stages ?? [];
  }

  start(): void {
    this.made?.start();
  }

  async stop(): Promise<void> {
    this.closing = true;
    await this.making?.catch(() => undefined);
    if (this.made === undefined) this.settle({ kind: 'stopped' });
    await this.made?.stop();
  }

  /** False before the VM is made. */
  writeConsole(data: Uint8Array | string): Promise<boolean> {
    return this.made?.writeConsole(data) ?? Promise.resolve(false);
  }

  onConsole(listener: ConsoleListener): () => void {
    return this.console.add(listener);
  }

  consoleDrained(): Promise<void> {
    return this.made?.consoleDrained() ?? Promise.resolve();
  }

  onStage(listener: (stage: Stage) => void): () => void {
    return this.stageEvents.add(listener);
  }

  /** @throws PandoError VM_NOT_MADE before the VM is made, and what a VM throws */
  async observe(): Promise<Observation> {
    if (this.made === undefined) {
      throw new PandoError('VM_NOT_MADE', `VM ${this.index} has not had its turn to boot`);
    }
    return this.made.observe();
  }

  async close(): Promise<void> {
    this.closing = true;
    await this.making?.catch(() => undefined);
    if (this.made === undefined) this.settle({ kind: 'stopped' });
    await this.made?.close();
  }
}
