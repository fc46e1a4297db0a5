/**
 * A client of gdb's remote serial protocol (GDB manual, appendix E), as far as stepping a processor and
 * reading its registers and memory takes. Addresses are the target's linear ones.
 */
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { PandoError } from '../error.js';

const ACKNOWLEDGE = '+';
const RESEND = '-';

function checksum(text: string): string {
  let sum = 0;
  for (const byte of Buffer.from(text, 'latin1')) sum += byte;
  return (sum & 0xff).toString(16).padStart(2, '0');
}

/** A packet around a text (E.1 "Overview"). */
export const packet = (text: string): string => `$${text}#${checksum(text)}`;

/** Undoes escapes (0x7d, then the byte XOR 0x20). */
function unescaped(text: string): string {
  return text.replace(/\}([\s\S])/g, (_, escaped: string) =>
    String.fromCharCode(escaped.charCodeAt(0) ^ 0x20),
  );
}

interface Waiting {
  readonly resolve: (text: string) => void;
  readonly reject: (error: Error) => void;
}

export class GdbClient {
  readonly #stream: Duplex;
  #buffer = '';
  readonly #waiting: Waiting[] = [];
  #failure: Error | undefined;
  #acknowledges = true;

  constructor(stream: Duplex) {
    this.#stream = stream;
    stream.on('data', (bytes: Buffer) => {
      this.#buffer += bytes.toString('latin1');
      this.#take();
    });
    stream.on('error', (error: Error) => this.#fail(error));
    stream.on('close', () =>
      this.#fail(new PandoError('GDB_CLOSED', 'the gdb server closed the connection')),
    );
  }

  /** Connects to a server at a Unix socket, which may take up to `patience` milliseconds to be there. */
  static async open(path: string, patience = 10_000): Promise<GdbClient> {
    const end = performance.now() + patience;
    for (;;) {
      try {
        const socket = await new Promise<Socket>((resolve, reject) => {
          const trying = connect(path, () => resolve(trying));
          trying.once('error', reject);
        });
        const client = new GdbClient(socket);
        await client.#quieten();
        return client;
      } catch (cause) {
        if (performance.now() > end) {
          throw new PandoError('GDB_UNREACHABLE', `no gdb server at ${path}`, { cause });
        }
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  }

  /** Without acknowledgements there is one packet each way (E.4, "QStartNoAckMode"). */
  async #quieten(): Promise<void> {
    if ((await this.command('QStartNoAckMode')) === 'OK') this.#acknowledges = false;
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }

  /** Takes whole packets out of what has come. */
  #take(): void {
    for (;;) {
      const start = this.#buffer.indexOf('$');
      const end = start < 0 ? -1 : this.#buffer.indexOf('#', start);
      if (end < 0 || this.#buffer.length < end + 3) return;
      const text = this.#buffer.slice(start + 1, end);
      const sum = this.#buffer.slice(end + 1, end + 3).toLowerCase();
      this.#buffer = this.#buffer.slice(end + 3);
      if (sum !== checksum(text)) {
        if (this.#acknowledges) this.#stream.write(RESEND);
        else this.#fail(new PandoError('GDB_CHECKSUM', `a packet has checksum ${sum}`));
        continue;
      }
      if (this.#acknowledges) this.#stream.write(ACKNOWLEDGE);
      this.#waiting.shift()?.resolve(unescaped(text));
    }
  }

  /** Sends a packet; gives the answer. */
  command(text: string): Promise<string> {
    if (this.#failure) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#stream.write(packet(text), 'latin1');
    });
  }

  async #expect(text: string, pattern: RegExp): Promise<string> {
    const answer = await this.command(text);
    if (pattern.test(answer)) return answer;
    throw new PandoError(
      'GDB_REFUSED',
      `the gdb server answers ${text} with ${answer || 'nothing'}`,
    );
  }

  /** One instruction, or one iteration of a repeated one. */
  async step(): Promise<void> {
    await this.#expect('vCont;s', /^[ST]05/);
  }

  /** Goes on until a breakpoint. */
  async continue(): Promise<void> {
    await this.#expect('vCont;c', /^[ST]05/);
  }

  /** Goes on until the instruction at `address` is next. */
  async runTo(address: bigint): Promise<void> {
    const place = `${address.toString(16)},1`;
    await this.#expect(`Z1,${place}`, /^OK$/);
    await this.continue();
    await this.#expect(`z1,${place}`, /^OK$/);
  }

  /** All registers as the server lays them out. */
  async registers(): Promise<Buffer> {
    return Buffer.from(await this.#expect('g', /^[0-9a-fx]{8,}$/), 'hex');
  }

  async memory(address: bigint, length: number): Promise<Buffer> {
    const text = `m${address.toString(16)},${length.toString(16)}`;
    return Buffer.from(await this.#expect(text, /^([0-9a-f]{2})+$/), 'hex');
  }

  close(): void {
    this.#stream.destroy();
  }
}
