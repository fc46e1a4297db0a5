/** The process's translator thread, and how the threads that drive VMs reach it. */
import {
  MessageChannel,
  type MessagePort,
  receiveMessageOnPort,
  startThread,
  type Thread,
} from '../../../platform/threads.js';
import { setV8Flags } from '../../../platform/v8-flags.js';
import { coreModule } from '../core-module.js';
import type { Release, TranslationCounters, TranslationService } from './service.js';

/** What the translator thread is told. */
export type TranslatorCommand =
  /** Serve one more thread. */
  | { readonly kind: 'connect'; readonly port: MessagePort }
  /** Translate what this file holds, and keep in it what became hot. */
  | { readonly kind: 'profile'; readonly path: string }
  /** The kernel of this profile is not used any more: bring it up to date, and forget it. */
  | { readonly kind: 'leave'; readonly path: string }
  /** Bring the profiles up to date, and say so. */
  | { readonly kind: 'save' }
  /** Answer with the counters. */
  | { readonly kind: 'counters' }
  /** Collect garbage. */
  | { readonly kind: 'trim-heap' }
  | { readonly kind: 'close' };

/** What the translator thread says. */
export type TranslatorAnswer =
  /** It has loaded its program. */
  | { readonly kind: 'loaded' }
  /** It has written this profile. */
  | { readonly kind: 'kept'; readonly path: string }
  /** All profiles are up to date. */
  | { readonly kind: 'saved' }
  | { readonly kind: 'counters'; readonly counters: TranslationCounters };

/** Words that the threads share: 1 once the translator has ended. */
const LINK = { ended: 0, bytes: 4 } as const;

/** What another thread needs to reach the translator; the port is transferred to it. */
export interface TranslatorLink {
  readonly port: MessagePort;
  /** Words of LINK. */
  readonly words: SharedArrayBuffer;
  /** Tells translators of a process apart: later ones have higher numbers. */
  readonly generation: number;
}

export interface TranslatorListeners {
  /** Called once when the thread has ended without `close`. */
  readonly died: (error: Error) => void;
  /** It has loaded its program. */
  readonly loaded: () => void;
  /** It has written this profile. */
  readonly kept: (path: string) => void;
}

/** Before any thread of a process that translates: the core keeps V8's own settings, and threads load with others. */
export function prepareToTranslate(): void {
  coreModule();
  setV8Flags();
}

export class TranslatorThread {
  readonly #worker: Thread;
  readonly #ended: Promise<void>;
  readonly #words = new Int32Array(new SharedArrayBuffer(LINK.bytes));
  readonly #generation: number;
  #closing = false;
  #stays = true;
  #loaded = false;
  /** Whoever waits for the counters, in the order of asking. */
  readonly #counted: ((counters: TranslationCounters) => void)[] = [];
  /** Whoever waits for the profiles, in the order of asking. */
  readonly #saved: (() => void)[] = [];

  /** @param generation higher than that of the one before */
  constructor(generation: number, { died, loaded, kept }: TranslatorListeners) {
    this.#generation = generation;
    prepareToTranslate();
    this.#worker = startThread(new URL('./translator-worker.js', import.meta.url));
    this.#worker.on('message', (answer: TranslatorAnswer) => {
      if (answer.kind === 'counters') return this.#counted.shift()?.(answer.counters);
      if (answer.kind === 'saved') {
        this.#saved.shift()?.();
        this.#refer();
        return;
      }
      if (answer.kind === 'kept') return kept(answer.path);
      this.#loaded = true;
      loaded();
    });
    let failure: Error | undefined;
    this.#worker.on('error', (error) => {
      failure = error;
    });
    this.#ended = new Promise((resolve) => {
      this.#worker.once('exit', (status) => {
        Atomics.store(this.#words, LINK.ended, 1);
        if (!this.#closing) died(failure ?? new Error(`it ended with status ${status}`));
        resolve();
      });
    });
  }

  /** Whether it has loaded its program: until then `close` waits for that, too. */
  get loaded(): boolean {
    return this.#loaded;
  }

  /** For one more thread; see PortService. */
  connect(): TranslatorLink {
    const { port1, port2 } = new MessageChannel();
    this.#worker.postMessage({ kind: 'connect', port: port1 } satisfies TranslatorCommand, [port1]);
    const words = this.#words.buffer as SharedArrayBuffer;
    return { port: port2, words, generation: this.#generation };
  }

  /** Uses a profile (profile.ts) until `leaveProfile`, which brings it up to date. */
  useProfile(path: string): void {
    this.#worker.postMessage({ kind: 'profile', path } satisfies TranslatorCommand);
  }

  leaveProfile(path: string): void {
    this.#worker.postMessage({ kind: 'leave', path } satisfies TranslatorCommand);
  }

  /** Resolves once all profiles in use are up to date, or the thread has ended. */
  saveProfiles(): Promise<void> {
    const saved = new Promise<void>((resolve) => {
      this.#saved.push(resolve);
    });
    this.#worker.postMessage({ kind: 'save' } satisfies TranslatorCommand);
    this.#refer();
    return Promise.race([saved, this.#ended]);
  }

  /** Whether the process stays for its thread; it does for profiles that are being saved. */
  keepProcess(stays: boolean): void {
    this.#stays = stays;
    this.#refer();
  }

  #refer(): void {
    if (this.#stays || this.#saved.length > 0) this.#worker.ref();
    else this.#worker.unref();
  }

  /** What has been asked for and translated so far; undefined when the thread ends meanwhile. */
  counters(): Promise<TranslationCounters | undefined> {
    const answer = new Promise<TranslationCounters>((resolve) => {
      this.#counted.push(resolve);
    });
    this.#worker.postMessage({ kind: 'counters' } satisfies TranslatorCommand);
    return Promise.race([answer, this.#ended.then(() => undefined)]);
  }

  /** Lets the thread collect garbage, if Node.js was started with --expose-gc. */
  trimHeap(): void {
    this.#worker.postMessage({ kind: 'trim-heap' } satisfies TranslatorCommand);
  }

  /** Ends the thread once the profiles are up to date. */
  close(): Promise<void> {
    this.#closing = true;
    this.#worker.postMessage({ kind: 'close' } satisfies TranslatorCommand);
    return this.#ended;
  }
}

/** The translator thread as another thread sees it; needs no event loop. */
export class PortService implements TranslationService {
  readonly #port: MessagePort;
  readonly #words: Int32Array;

  constructor({ port, words }: TranslatorLink) {
    this.#port = port;
    this.#words = new Int32Array(words);
  }

  get ended(): boolean {
    return Atomics.load(this.#words, LINK.ended) !== 0;
  }

  close(): void {
    this.#port.close();
  }

  request(regions: readonly Uint8Array[]): void {
    this.#port.postMessage(regions);
  }

  receive(): Release | undefined {
    return receiveMessageOnPort(this.#port)?.message as Release | undefined;
  }
}
