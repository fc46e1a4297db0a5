/** Signed URLs of files: what E2B's clients make with `uploadUrl` and `downloadUrl`. */
import { createHash } from 'node:crypto';
import { sameSecret } from '../keys.js';

/** The signature of an access to a file. @param expiration seconds since 1970 */
export function fileSignature(
  token: string,
  operation: 'read' | 'write',
  query: URLSearchParams,
): string {
  const expiration = query.get('signature_expiration');
  const words = [query.get('path') ?? '', operation, query.get('username') ?? '', token];
  if (expiration !== null) words.push(expiration);
  const hash = createHash('sha256').update(words.join(':')).digest('base64');
  return `v1_${hash.replace(/=+$/, '')}`;
}

/** Whether a query has a signature that is right, and not over. */
export function isSigned(
  token: string,
  operation: 'read' | 'write',
  query: URLSearchParams,
): boolean {
  const given = query.get('signature');
  if (given === null) return false;
  const expiration = query.get('signature_expiration');
  if (expiration !== null && !(Number(expiration) * 1000 > Date.now())) return false;
  return sameSecret(given, fileSignature(token, operation, query));
}
