/** Sizes, as users write and read them. */
import { PandoError } from '../../error.js';

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  K: 1024,
  M: 1024 ** 2,
  G: 1024 ** 3,
};

/**
 * Bytes of a size such as `512M`, `1G`, `1.5G` or `1073741824`; units are powers of 1024.
 * @param option for the message, e.g. `--memory`
 * @throws PandoError SIZE_INVALID
 */
export function parseSize(option: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)([KMG]?)(?:i?B)?$/i.exec(text);
  const bytes = Number(match?.[1]) * (UNITS[match?.[2]?.toUpperCase() ?? ''] ?? Number.NaN);
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  throw new PandoError('SIZE_INVALID', `${option} ${JSON.stringify(text)} is no number of bytes`, {
    remedy: 'write it like 512M or 1G',
  });
}

/**
 * A whole number in a range.
 * @throws PandoError NUMBER_INVALID
 */
export function parseCount(option: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  const message = `${option} ${JSON.stringify(text)} is not a whole number from ${least} to ${most}`;
  throw new PandoError('NUMBER_INVALID', message);
}

/**
 * A positive number of seconds, fractions allowed, in milliseconds.
 * @throws PandoError NUMBER_INVALID
 */
export function parseSeconds(option: string, text: string): number {
  const value = Number(text);
  // setTimeout takes at most 2^31 - 1 milliseconds.
  if (/^\d+(\.\d+)?$/.test(text) && value > 0 && value * 1000 < 2 ** 31) return value * 1000;
  const message = `${option} ${JSON.stringify(text)} is not a number of seconds, up to 2147483`;
  throw new PandoError('NUMBER_INVALID', message);
}

/** Bytes in MiB with one digit, e.g. `12.5 MiB`. */
export function mebibytes(bytes: number): string {
  return `${(bytes / UNITS.M!).toFixed(1)} MiB`;
}
