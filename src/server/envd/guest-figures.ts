/** What a guest says of its processors, memory and disk. It may say anything: the figures are its own. */
import type { Sandbox } from '../../sandbox/sandbox.js';

/** In bytes and percent, by the names of E2B's interface. */
export interface GuestFigures {
  readonly ts: number;
  readonly cpu_count: number;
  readonly cpu_used_pct: number;
  readonly mem_total: number;
  readonly mem_used: number;
  readonly mem_cache: number;
  readonly disk_total: number;
  readonly disk_used: number;
}

const SCRIPT = 'cat /proc/stat; cat /proc/meminfo; df -k / /dev/shm 2>/dev/null | tail -n 1';

function kilobytes(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0) * 1024;
}

/** Reads what `SCRIPT` prints. */
export function figuresOf(text: string, now: number): GuestFigures {
  const ticks = /^cpu +(.+)$/m.exec(text)?.[1]?.split(' ').map(Number) ?? [];
  const total = ticks.reduce((sum, part) => sum + part, 0);
  const idle = (ticks[3] ?? 0) + (ticks[4] ?? 0);
  const memory = kilobytes(text, 'MemTotal');
  const disk = text.trimEnd().split('\n').at(-1)?.split(/\s+/).map(Number) ?? [];
  const blocks = (at: number): number => (Number.isFinite(disk[at]) ? Number(disk[at]) * 1024 : 0);
  return {
    ts: Math.floor(now / 1000),
    cpu_count: text.match(/^cpu\d+ /gm)?.length ?? 1,
    cpu_used_pct: total === 0 ? 0 : Math.round((1000 * (total - idle)) / total) / 10,
    mem_total: memory,
    mem_used: Math.max(0, memory - kilobytes(text, 'MemAvailable')),
    mem_cache: kilobytes(text, 'Cached'),
    disk_total: blocks(1),
    disk_used: blocks(2),
  };
}

/** @throws PandoError when the sandbox does not answer */
export async function guestFigures(sandbox: Sandbox): Promise<GuestFigures> {
  const { stdout } = await sandbox.exec(SCRIPT, { timeout: 10_000 });
  return figuresOf(stdout, Date.now());
}
