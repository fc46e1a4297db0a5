/** Lists in pages: which sandboxes a query means, and where its next page begins. */
import { integerQuery } from './fields.js';
import type { SandboxRecord } from './hosted-sandbox.js';
import { RequestError } from './http.js';

const PAGE = 100;

/** The pairs of a filter, which are encoded once more than the query as a whole. */
function pairsOf(filter: string): [string, string][] {
  try {
    return [...new URLSearchParams(filter)].map(([name, value]) => [
      decodeURIComponent(name),
      decodeURIComponent(value),
    ]);
  } catch {
    throw new RequestError(400, 'metadata is not encoded as it should be');
  }
}

/** A page of something, and what asks for the next. */
export interface Page<Item> {
  readonly items: readonly Item[];
  readonly next: string | undefined;
}

/**
 * The page that a query asks for.
 * @param all in order
 * @param keyOf unique; the next page begins behind the key of this one's last
 */
export function pageOf<Item>(
  all: readonly Item[],
  keyOf: (item: Item) => string,
  query: URLSearchParams,
): Page<Item> {
  const limit = integerQuery(query, 'limit', 1, PAGE) ?? PAGE;
  const token = query.get('nextToken');
  const last = token === null ? undefined : Buffer.from(token, 'base64url').toString('utf8');
  const at = last === undefined ? 0 : all.findIndex((item) => keyOf(item) > last);
  const items = at < 0 ? [] : all.slice(at, at + limit);
  const end = items.at(-1);
  const more = end !== undefined && at + limit < all.length;
  return { items, next: more ? Buffer.from(keyOf(end)).toString('base64url') : undefined };
}

/** Sandboxes that a query means, in its order; the youngest first, and none that has ended, when it does not say. */
export function listed(all: readonly SandboxRecord[], query: URLSearchParams): Page<SandboxRecord> {
  const pairs = pairsOf(query.get('metadata') ?? '');
  const states = query.getAll('state').flatMap((text) => text.split(','));
  const template = query.get('template') ?? undefined;
  const after = Date.parse(query.get('startedAfter') ?? '');
  const chosen = all.filter(
    ({ state, options, startedAt }) =>
      (states.length === 0 ? state !== 'exited' : states.includes(state)) &&
      (template === undefined || options.template === template) &&
      !(startedAt.getTime() <= after) &&
      pairs.every(([name, value]) => options.metadata.get(name) === value),
  );
  const oldestFirst = query.get('order') === 'asc';
  const keyOf = ({ startedAt, id }: SandboxRecord): string => {
    const time = startedAt.getTime();
    return `${String(oldestFirst ? time : Number.MAX_SAFE_INTEGER - time).padStart(16, '0')}-${id}`;
  };
  const order = [...chosen].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  return pageOf(order, keyOf, query);
}
