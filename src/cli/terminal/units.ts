/** Sizes, as users write and read them. */
import { PandoError } from '../../error.js';

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  K: 1024,
  M: 1024 ** 2,
  G: 1024 ** 3,
  T: 1024 ** 4,
};

/**
 * The number that a size such as `512M`, `1.5G`, `2GiB` or `1073741824` stands for; units are powers of 1024.
 * @param unit of a number without one
 * @returns undefined for what is no size of a whole number of bytes, above 0
 */
export function sizeOf(text: string, unit = ''): number | undefined {
  const [, number, given] = /^(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?$/i.exec(text) ?? [];
  const bytes = Number(number) * (UNITS[(given || unit).toUpperCase()] ?? Number.NaN);
  return Number.isSafeInteger(bytes) && bytes > 0 ? bytes : undefined;
}

/**
 * Bytes of a size such as `512M`, `1G`, `1.5G` or `1073741824`; units are powers of 1024.
 * @param option for the message, e.g. `--memory`
 * @throws PandoError SIZE_INVALID
 */
export function parseSize(option: string, text: string): number {
  const bytes = sizeOf(text);
  if (bytes !== undefined) return bytes;
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
