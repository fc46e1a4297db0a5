/**
 * HTTP requests to registries: redirects followed without carrying credentials to another host, failures
 * that pass tried again, bodies that are bounded or stream (RFC 9110; OCI Distribution Specification).
 */
import { PandoError, reasonOf } from '../../error.js';

const REDIRECT_LIMIT = 5;
/** Tries of one request, or of going on with one stream without any progress. */
const TRIES = 5;
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 30_000;
/** A connection that gives nothing for this long is given up. */
const STALL_MS = 60_000;

/** How a client behaves. */
export interface HttpOptions {
  /** The first pause before another try, in milliseconds; it doubles. */
  readonly firstDelayMs?: number;
}

/** `fetch` says why in the cause of its error. */
function reasonOfFetch(failure: unknown): string {
  const within = failure instanceof Error ? failure.cause : undefined;
  return reasonOf(within ?? failure);
}

/** The error for a server that cannot be talked to. */
export function unreachable(url: string, cause: unknown): PandoError {
  return new PandoError('REGISTRY_UNREACHABLE', `${new URL(url).host}: ${reasonOfFetch(cause)}`, {
    remedy: 'check the network and the registry’s name; then pull again, it goes on where it was',
    cause,
  });
}

/** One request's answer, its body not read yet. */
async function requestOnce(
  url: string,
  init: {
    readonly headers: Record<string, string>;
    readonly method?: string;
    readonly body?: string;
  },
  signal: AbortSignal,
): Promise<Response> {
  let target = new URL(url);
  let headers = init.headers;
  for (let redirect = 0; redirect <= REDIRECT_LIMIT; redirect++) {
    const response = await fetch(target, { ...init, headers, signal, redirect: 'manual' });
    const location = response.headers.get('location');
    if (response.status < 300 || response.status > 399 || location === null) return response;
    await response.body?.cancel();
    const next = new URL(location, target);
    if (target.protocol === 'https:' && next.protocol !== 'https:') {
      throw new PandoError('REGISTRY_ERROR', `${target.host} redirects to ${next.protocol}//`, {
        remedy: 'what came from a server with TLS is not fetched without',
      });
    }
    if (next.origin !== target.origin) {
      const { authorization: _, ...others } = headers;
      headers = others;
    }
    target = next;
  }
  throw new PandoError('REGISTRY_ERROR', `${new URL(url).host} redirects without end`);
}

function retryDelay(response: Response | undefined, attempt: number, first: number): number {
  const after = Number(response?.headers.get('retry-after') ?? Number.NaN) * 1000;
  const wanted = Number.isFinite(after) ? after : first * 2 ** attempt;
  return Math.min(LONGEST_DELAY_MS, wanted);
}

const pause = (milliseconds: number) =>
  new Promise<void>((resolve) => setTimeout(resolve, milliseconds));

/** What a request is made of. `headers` is called for each try: credentials may have changed. */
export interface HttpRequest {
  readonly url: string;
  readonly headers: () => Record<string, string>;
  readonly method?: string;
  readonly body?: string;
}

/** A client with its retries. */
export class HttpClient {
  private readonly firstDelay: number;

  constructor({ firstDelayMs = FIRST_DELAY_MS }: HttpOptions = {}) {
    this.firstDelay = firstDelayMs;
  }

  /**
   * Makes a request; failing connections, 429 and 5xx are tried again.
   * @returns the answer, whatever its status; `stall` must be stopped when its body has been read
   * @throws PandoError REGISTRY_UNREACHABLE, REGISTRY_ERROR
   */
  private async request(request: HttpRequest): Promise<{ response: Response; stall: Stall }> {
    for (let attempt = 0; ; attempt++) {
      const stall = new Stall();
      let response: Response | undefined;
      try {
        const { url, headers, ...init } = request;
        response = await requestOnce(url, { ...init, headers: headers() }, stall.signal);
        const passing = response.status === 429 || response.status >= 500;
        if (!passing || attempt + 1 === TRIES) return { response, stall };
        await response.body?.cancel();
      } catch (cause) {
        stall.stop();
        if (cause instanceof PandoError) throw cause;
        if (attempt + 1 === TRIES) throw unreachable(request.url, cause);
      }
      stall.stop();
      await pause(retryDelay(response, attempt, this.firstDelay));
    }
  }

  /**
   * A whole answer.
   * @param limit most bytes of its body
   * @throws PandoError REGISTRY_UNREACHABLE, REGISTRY_ERROR
   */
  async get(
    request: HttpRequest,
    limit: number,
  ): Promise<{ readonly status: number; readonly headers: Headers; readonly body: Uint8Array }> {
    const { response, stall } = await this.request(request);
    try {
      const pieces: Uint8Array[] = [];
      let size = 0;
      for await (const piece of bodyOf(response)) {
        stall.restart();
        pieces.push(piece);
        size += piece.length;
        if (size > limit) {
          const { host } = new URL(request.url);
          throw new PandoError('REGISTRY_ERROR', `${host} answers with more than ${limit} bytes`);
        }
      }
      return { status: response.status, headers: response.headers, body: Buffer.concat(pieces) };
    } catch (cause) {
      if (cause instanceof PandoError) throw cause;
      throw unreachable(request.url, cause);
    } finally {
      stall.stop();
    }
  }

  /**
   * A body as a stream; when its connection fails half-way, it is asked for from there on.
   * @param refused makes the error for a status that is not 200 or 206, or undefined to have the request
   *   made once more; told how many failures there were since bytes came
   * @throws PandoError REGISTRY_UNREACHABLE, REGISTRY_ERROR, what `refused` makes
   */
  async *stream(
    request: HttpRequest,
    refused: (response: Response, failures: number) => Promise<PandoError | undefined>,
  ): AsyncGenerator<Uint8Array> {
    let received = 0;
    for (let failures = 0; ; ) {
      const range: Record<string, string> = received > 0 ? { range: `bytes=${received}-` } : {};
      const headers = () => ({ ...request.headers(), ...range });
      const { response, stall } = await this.request({ ...request, headers });
      try {
        if (response.status !== 200 && response.status !== 206) {
          const error = await refused(response, failures);
          await response.body?.cancel();
          if (error !== undefined) throw error;
          if (++failures === TRIES) throw unreachable(request.url, new Error('no way in'));
          continue;
        }
        let skip = received - startOf(response);
        if (skip < 0) throw new Error('a range that begins too late');
        for await (const piece of bodyOf(response)) {
          stall.restart();
          const wanted = piece.subarray(Math.min(skip, piece.length));
          skip -= piece.length - wanted.length;
          if (wanted.length === 0) continue;
          received += wanted.length;
          failures = 0;
          yield wanted;
        }
        return;
      } catch (cause) {
        if (cause instanceof PandoError) throw cause;
        if (++failures === TRIES) throw unreachable(request.url, cause);
        await pause(retryDelay(undefined, failures - 1, this.firstDelay));
      } finally {
        stall.stop();
      }
    }
  }
}

/** Offset of the first byte of an answer's body in the whole. */
function startOf(response: Response): number {
  if (response.status !== 206) return 0;
  const [, start] = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '') ?? [];
  return Number(start ?? Number.NaN);
}

async function* bodyOf(response: Response): AsyncGenerator<Uint8Array> {
  if (response.body === null) return;
  for await (const piece of response.body) yield piece as Uint8Array;
}

/** Gives a connection up that says nothing. */
class Stall {
  private readonly controller = new AbortController();
  private timer = this.start();

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  private start(): NodeJS.Timeout {
    return setTimeout(() => this.controller.abort(new Error('the server is silent')), STALL_MS);
  }

  restart(): void {
    clearTimeout(this.timer);
    this.timer = this.start();
  }

  stop(): void {
    clearTimeout(this.timer);
  }
}
