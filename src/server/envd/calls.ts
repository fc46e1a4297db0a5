/** What all calls of a sandbox's services have: errors, the user, signs of life. */
import type { DescService } from '@bufbuild/protobuf';
import {
  Code,
  ConnectError,
  createContextKey,
  type HandlerContext,
  type ServiceImpl,
} from '@connectrpc/connect';
import type { HostedSandbox } from '../hosted-sandbox.js';
import { answerOf, RequestError } from '../http.js';

/** The sandbox that a call is about. */
export const SANDBOX = createContextKey<HostedSandbox | undefined>(undefined);

/** @throws RequestError 502 */
export function sandboxOf(context: HandlerContext): HostedSandbox {
  const hosted = context.values.get(SANDBOX);
  if (hosted === undefined) throw new RequestError(502, 'there is no such sandbox');
  return hosted;
}

/** Codes of Connect for statuses of HTTP (connectrpc.com/docs/protocol, "Error codes"). */
const CODES = new Map<number, Code>([
  [400, Code.InvalidArgument],
  [401, Code.Unauthenticated],
  [404, Code.NotFound],
  [409, Code.AlreadyExists],
  [429, Code.ResourceExhausted],
  [502, Code.Unavailable],
  [503, Code.Unavailable],
  [507, Code.ResourceExhausted],
]);

function connectError(error: unknown): unknown {
  if (error instanceof ConnectError) return error;
  const { status, message } = answerOf(error);
  return new ConnectError(message, CODES.get(status) ?? Code.Internal, undefined, undefined, error);
}

type Method = (request: never, context: HandlerContext) => unknown;

function isIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}

async function* iterated(values: AsyncIterable<unknown>): AsyncGenerator<unknown> {
  try {
    yield* values;
  } catch (error) {
    throw connectError(error);
  }
}

function guarded(method: Method): Method {
  return (request, context) => {
    try {
      const result = method(request, context);
      if (isIterable(result)) return iterated(result);
      return Promise.resolve(result).catch((error: unknown) => {
        throw connectError(error);
      });
    } catch (error) {
      throw connectError(error);
    }
  };
}

/** The same service, with the codes that clients expect instead of errors of this project. */
export function asConnectErrors<S extends DescService>(
  service: Partial<ServiceImpl<S>>,
): Partial<ServiceImpl<S>> {
  const methods = Object.entries(service).map(([name, method]) => [
    name,
    guarded(method as Method),
  ]);
  return Object.fromEntries(methods) as Partial<ServiceImpl<S>>;
}

/** The user that a client names: the name of HTTP's basic authorization, without a password. */
export function userOf({ requestHeader }: HandlerContext): string | undefined {
  const basic = /^Basic ([A-Za-z0-9+/=]+)$/.exec(requestHeader.get('authorization') ?? '')?.[1];
  if (basic === undefined) return undefined;
  return Buffer.from(basic, 'base64').toString('utf8').split(':')[0];
}

const KEEP_ALIVE_DEFAULT = 90;
const KEEP_ALIVE_MOST = 3600;

/** Milliseconds of silence after which a stream gives a sign of life. */
export function keepAliveOf({ requestHeader }: HandlerContext): number {
  const seconds = Number(requestHeader.get('keepalive-ping-interval'));
  const wanted = Number.isFinite(seconds) && seconds >= 1 ? seconds : KEEP_ALIVE_DEFAULT;
  return Math.min(wanted, KEEP_ALIVE_MOST) * 1000;
}
