/** Hashes (FIPS 180-4), as the platform computes them. */
import { createHash } from 'node:crypto';

/** The SHA-256 of parts that follow each other: 32 bytes. */
export function sha256(...parts: readonly Uint8Array[]): Buffer {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** A short name for bytes of one's own, which nobody forges: their SHA-1 in base64. */
export function nameOf(bytes: Uint8Array): string {
  return createHash('sha1').update(bytes).digest('base64');
}
