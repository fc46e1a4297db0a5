/** `pando bench compare`: two results of the same bench, figure by figure. */
import { readFile } from 'node:fs/promises';
import { formatTable, type Style } from '../cli/terminal/text-table.js';
import { PandoError, reasonOf } from '../error.js';
import type { BootReport } from './boot-series.js';
import { compareBoots, compareFootprints, type Difference, largestShare } from './comparison.js';
import type { FootprintReport } from './footprint-report.js';

/** Options of the command. */
export interface CompareFlags {
  readonly within?: string;
}

const MIB = 2 ** 20;

/**
 * What `--json` of a bench wrote.
 * @throws PandoError BENCH_FILE_INVALID
 */
async function readResult(path: string): Promise<FootprintReport | BootReport> {
  const invalid = (why: string, cause?: unknown): PandoError =>
    new PandoError('BENCH_FILE_INVALID', `${path}: ${why}`, {
      remedy: 'name two files that --json of the same bench has written',
      cause,
    });
  let result: { readonly kind?: unknown; readonly series?: unknown } | null;
  try {
    result = JSON.parse(await readFile(path, 'utf8'));
  } catch (cause) {
    throw invalid(reasonOf(cause), cause);
  }
  if (result?.kind !== 'footprint' && result?.kind !== 'boot') throw invalid('no bench wrote it');
  if (!Array.isArray(result.series)) throw invalid('it has no series');
  return result as FootprintReport | BootReport;
}

/** @throws PandoError NUMBER_INVALID */
function parsePercent(text: string): number {
  const value = Number(text);
  if (/^\d+(\.\d+)?$/.test(text) && value <= 100) return value;
  const message = `--within ${JSON.stringify(text)} is not a number of per cent up to 100`;
  throw new PandoError('NUMBER_INVALID', message);
}

function formatDifferences(
  kind: 'footprint' | 'boot',
  differences: readonly Difference[],
  style: Style,
): string {
  const unit = (value: number): string => (kind === 'boot' ? value : value / MIB).toFixed(1);
  const heading = kind === 'boot' ? 'Boot stages, medians, ms' : 'USS per instance, MiB';
  const table = formatTable(
    [
      { title: 'system', align: 'left' },
      { title: kind === 'boot' ? 'stage' : 'instances', align: kind === 'boot' ? 'left' : 'right' },
      { title: 'first', align: 'right' },
      { title: 'second', align: 'right' },
      { title: 'difference', align: 'right' },
    ],
    differences.map(({ title, what, first, second, share }) => [
      title,
      what,
      unit(first),
      unit(second),
      `${share < 0 ? '' : '+'}${(share * 100).toFixed(1)} %`,
    ]),
    style,
  );
  const largest = (largestShare(differences) * 100).toFixed(1);
  return `${style.bold(heading)}\n${table}the largest difference is ${largest} %\n`;
}

/**
 * Compares two results.
 * @param print takes the table
 * @throws PandoError BENCH_FILE_INVALID, NUMBER_INVALID; BENCH_DIFFERS beyond `--within` per cent, with
 * the table written before
 */
export async function compareResults(
  paths: readonly [string, string],
  flags: CompareFlags,
  style: Style,
  print: (text: string) => void,
): Promise<void> {
  const limit = flags.within === undefined ? Number.POSITIVE_INFINITY : parsePercent(flags.within);
  const [first, second] = await Promise.all([readResult(paths[0]), readResult(paths[1])]);
  let differences: Difference[] = [];
  if (first.kind === 'footprint' && second.kind === 'footprint') {
    differences = compareFootprints(first, second);
  } else if (first.kind === 'boot' && second.kind === 'boot') {
    differences = compareBoots(first, second);
  }
  if (differences.length === 0) {
    throw new PandoError('BENCH_FILE_INVALID', 'the two results have no figure in common', {
      remedy: 'name two files that --json of the same bench has written',
    });
  }
  print(formatDifferences(first.kind, differences, style));
  const beyond = differences.filter(({ share }) => Math.abs(share) * 100 > limit);
  const worst = largestShare(beyond);
  if (beyond.length > 0) {
    const message = `${beyond.length} of ${differences.length} figures differ by more than ${limit} %, up to ${(worst * 100).toFixed(1)} %`;
    throw new PandoError('BENCH_DIFFERS', message, {
      remedy: 'measure again on a machine that does nothing else',
    });
  }
}
