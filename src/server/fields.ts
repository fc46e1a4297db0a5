/** Fields of a request's body, checked. */
import { RequestError } from './http.js';

export type Body = Readonly<Record<string, unknown>>;

/** @throws RequestError 400 */
export function textField(body: Body, name: string): string | undefined {
  const value = body[name] ?? undefined;
  if (value === undefined || typeof value === 'string') return value;
  throw new RequestError(400, `${name} is not a string`);
}

/** @throws RequestError 400 */
export function flagField(body: Body, name: string): boolean | undefined {
  const value = body[name] ?? undefined;
  if (value === undefined || typeof value === 'boolean') return value;
  throw new RequestError(400, `${name} is not a boolean`);
}

/** @throws RequestError 400 */
export function integerField(
  body: Body,
  name: string,
  least: number,
  most: number,
): number | undefined {
  const value = body[name] ?? undefined;
  if (value === undefined) return undefined;
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) {
    return value;
  }
  throw new RequestError(400, `${name} is no integer from ${least} to ${most}`);
}

/** An object of strings, as a map: its names are a client's. @throws RequestError 400 */
export function textsField(body: Body, name: string): ReadonlyMap<string, string> {
  const value = body[name] ?? {};
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new RequestError(400, `${name} is not an object`);
  }
  const entries = Object.entries(value);
  for (const [key, text] of entries) {
    if (typeof text !== 'string') throw new RequestError(400, `${name}.${key} is not a string`);
  }
  return new Map(entries as [string, string][]);
}

/** A list of strings; empty when absent. @throws RequestError 400 */
export function wordsField(body: Body, name: string): string[] {
  const value = body[name] ?? [];
  const isWords = Array.isArray(value) && value.every((word) => typeof word === 'string');
  if (isWords) return value;
  throw new RequestError(400, `${name} is no list of strings`);
}

/** Whether a field asks for something: present, and not empty. */
export function asks(body: Body, name: string): boolean {
  const value = body[name] ?? undefined;
  if (value === undefined || value === false) return false;
  return typeof value !== 'object' || Object.keys(value as object).length > 0;
}

/** A number of a query. @throws RequestError 400 */
export function integerQuery(
  query: URLSearchParams,
  name: string,
  least: number,
  most: number,
): number | undefined {
  const text = query.get(name);
  if (text === null) return undefined;
  return integerField({ [name]: text === '' ? text : Number(text) }, name, least, most);
}
