/** What the control plane answers: methods and paths, and who handles them. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Body } from './fields.js';
import { RequestError } from './http.js';

/** A request to the control plane, read. */
export interface Call {
  readonly owner: string;
  readonly query: URLSearchParams;
  readonly body: Body;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** What the path names. */
  readonly id: string;
  /** What it names behind that: a build, the hash of files. */
  readonly part: string;
}

type Handler = (call: Call) => Promise<void> | void;

export interface Route {
  readonly method: string;
  readonly path: RegExp;
  readonly handler: Handler;
}

/** Names of templates may have a tag behind a colon, which clients encode. */
const WORD = '((?:[A-Za-z0-9._:-]|%3A){1,130})';

/** @param path with `{}` for each name in it */
export function route(method: string, path: string, handler: Handler): Route {
  return { method, path: new RegExp(`^${path.replaceAll('{}', WORD)}$`), handler };
}

/** Who handles a request, and what its path names. @throws RequestError 404, 405 */
export function routeOf(
  routes: readonly Route[],
  method: string | undefined,
  pathname: string,
): { readonly handler: Handler; readonly id: string; readonly part: string } {
  const known = routes.filter(({ path }) => path.test(pathname));
  if (known.length === 0) throw new RequestError(404, `there is nothing at ${pathname}`);
  const found = known.find((each) => each.method === method);
  if (found === undefined) throw new RequestError(405, `${method} of ${pathname}`);
  const [, id = '', part = ''] = found.path.exec(pathname) ?? [];
  return { handler: found.handler, id: decodeURIComponent(id), part: decodeURIComponent(part) };
}
