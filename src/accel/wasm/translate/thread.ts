/** The process's translator thread, and how the threads that drive VMs reach it. */
import {
  MessageChannel,
  type MessagePort,
  receiveMessageOnPort,
  Worker,
} from 'node:worker_threads';
import type { Release, TranslationService } from './service.js';

/** What the translator thread is told. */
export interface TranslatorCommand {
  readonly port: MessagePort;
}

export class TranslatorThread {
  readonly #worker = new Worker(new URL('./translator-worker.js', import.meta.url));
  readonly #ended: Promise<void>;

  /** @param failed hears of an exception there */
  constructor(failed: (error: Error) => void) {
    this.#worker.on('error', failed);
    this.#ended = new Promise((resolve) => this.#worker.once('exit', () => resolve()));
  }

  /** A port for one more thread; see PortService. */
  connect(): MessagePort {
    const { port1, port2 } = new MessageChannel();
    this.#worker.postMessage({ port: port1 } satisfies TranslatorCommand, [port1]);
    return port2;
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
    await this.#ended;
  }
}

/** The translator thread as another thread sees it; needs no event loop. */
export class PortService implements TranslationService {
  readonly #port: MessagePort;

  constructor(port: MessagePort) {
    this.#port = port;
  }

  request(regions: readonly Uint8Array[]): void {
    this.#port.postMessage(regions);
  }

  receive(): Release | undefined {
    return receiveMessageOnPort(this.#port)?.message as Release | undefined;
  }
}
