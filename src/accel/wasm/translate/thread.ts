/** The process's translator thread, and how the threads that drive VMs reach it. */
import {
  MessageChannel,
  type MessagePort,
  receiveMessageOnPort,
  type Worker,
} from 'node:worker_threads';
import { startThread } from '../../thread.js';
import { coreModule } from '../core-module.js';
import type { Release, TranslationCounters, TranslationService } from './service.js';
import { setV8Flags } from './v8-flags.js';

/** What the translator thread is told. */
export type TranslatorCommand =
  /** Serve one more thread. */
  | { readonly kind: 'connect'; readonly port: MessagePort }
  /** Translate what this file holds, and keep in it what became hot. */
  | { readonly kind: 'profile'; readonly path: string }
  /** Answer with the counters. */
  | { readonly kind: 'counters' }
  /** Collect garbage. */
  | { readonly kind: 'tidy' }
  | { readonly kind: 'close' };

/** Words that the threads share: 1 once the translator has ended, 1 once it was asked for translations. */
const LINK = { ended: 0, asked: 1, bytes: 8 } as const;

/** What another thread needs to reach the translator; the port is transferred to it. */
export interface TranslatorLink {
  readonly port: MessagePort;
  /** Words of LINK. */
  readonly words: SharedArrayBuffer;
  /** Tells translators of a process apart: later ones have higher numbers. */
  readonly generation: number;
}

export class TranslatorThread {
  readonly #worker: Worker;
  readonly #ended: Promise<void>;
  readonly #words = new Int32Array(new SharedArrayBuffer(LINK.bytes));
  readonly #generation: number;
  #closing = false;
  /** It has a file to bring up to date at its end. */
  #keeps = false;

  /**
   * @param generation higher than that of the one before
   * @param died hears once when the thread has ended without `close`
   */
  constructor(generation: number, died: (error: Error) => void) {
    this.#generation = generation;
    // The core keeps V8's own settings. Threads load with these, as they did when their code was cached.
    coreModule();
    setV8Flags();
    this.#worker = startThread(new URL('./translator-worker.js', import.meta.url));
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

  /** For one more thread; see PortService. */
  connect(): TranslatorLink {
    const { port1, port2 } = new MessageChannel();
    this.#worker.postMessage({ kind: 'connect', port: port1 } satisfies TranslatorCommand, [port1]);
    const words = this.#words.buffer as SharedArrayBuffer;
    return { port: port2, words, generation: this.#generation };
  }

  /** Uses a profile (profile.ts), and brings it up to date at the end. */
  useProfile(path: string): void {
    this.#keeps = true;
    this.#worker.postMessage({ kind: 'profile', path } satisfies TranslatorCommand);
  }

  /** What has been asked for and translated so far; undefined when the thread ends meanwhile. */
  counters(): Promise<TranslationCounters | undefined> {
    const answer = new Promise<TranslationCounters>((resolve) => {
      this.#worker.once('message', resolve);
    });
    this.#worker.postMessage({ kind: 'counters' } satisfies TranslatorCommand);
    return Promise.race([answer, this.#ended.then(() => undefined)]);
  }

  /** Lets the thread collect garbage, if Node.js was started with --expose-gc. */
  tidy(): void {
    this.#worker.postMessage({ kind: 'tidy' } satisfies TranslatorCommand);
  }

  /** Ends the thread once profiles are written. One that has nothing to write need not even have started. */
  close(): Promise<void> {
    this.#closing = true;
    const asked = Atomics.load(this.#words, LINK.asked) !== 0;
    if (this.#keeps && asked)
      this.#worker.postMessage({ kind: 'close' } satisfies TranslatorCommand);
    else void this.#worker.terminate();
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
    Atomics.store(this.#words, LINK.asked, 1);
    this.#port.postMessage(regions);
  }

  receive(): Release | undefined {
    return receiveMessageOnPort(this.#port)?.message as Release | undefined;
  }
}
