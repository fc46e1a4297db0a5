/** What a user is told about VMs that did not end as wished. */
import { PandoError } from '../error.js';
import type { Observation } from '../fleet/observation.js';
import { NOT_MADE } from '../fleet/planned-vm.js';
import { hex64, type RegisterReport, registersOf } from './report.js';
import type { Outcome, Watched } from './supervise.js';

const LAST_LINES = 8;
const REGISTERS_A_LINE = 4;

function consoleLines(one: Watched): string[] {
  const last = one.tail.last(LAST_LINES);
  if (last.length === 0) return ['  its console has printed nothing'];
  return ['  last console lines:', ...last.map((line) => `    ${line}`)];
}

function registerLines(registers: RegisterReport): string[] {
  const cells = Object.entries(registers).map(([name, value]) => `${name.toUpperCase()}=${value}`);
  const lines: string[] = [];
  for (let at = 0; at < cells.length; at += REGISTERS_A_LINE) {
    lines.push(`    ${cells.slice(at, at + REGISTERS_A_LINE).join(' ')}`);
  }
  return lines;
}

/** What a running VM is doing. */
function activity(one: Watched, seen: Observation | undefined): string[] {
  if (one.vm.pid === NOT_MADE) return [`VM ${one.vm.index}: its turn to boot had not come`];
  const stage = one.vm.stages.at(-1)?.name ?? 'no boot stage';
  const place =
    seen === undefined
      ? 'its process does not answer'
      : `RIP ${hex64(seen.vcpu.rip)}, ${seen.instructions} instructions`;
  return [`VM ${one.vm.index}: running, ${stage}, ${place}`, ...consoleLines(one)];
}

/** How a VM ended, when that is worth telling; the lines are for standard error. */
function ending(one: Watched): string[] {
  const { exit, vm } = one;
  if (exit?.kind === 'shutdown') {
    const rip = hex64(exit.vcpu.rip);
    return [
      new PandoError('GUEST_TRIPLE_FAULT', `VM ${vm.index}: triple fault at RIP ${rip}`).toLine(),
      '  registers:',
      ...registerLines(registersOf(exit.vcpu)),
      ...consoleLines(one),
    ];
  }
  if (exit?.kind === 'error') {
    const detail = exit.remedy === undefined ? {} : { remedy: exit.remedy };
    const message = `VM ${vm.index}: ${exit.message}`;
    const line = new PandoError(exit.code, message, detail).toLine();
    return [line, ...consoleLines(one)];
  }
  if (exit !== undefined && one.waits && !one.done) {
    const message = `VM ${vm.index} ended (${exit.kind}) before its console printed the text of --until`;
    return [new PandoError('UNTIL_NOT_SEEN', message).toLine(), ...consoleLines(one)];
  }
  return [];
}

/**
 * Lines about everything that went wrong; none when nothing did.
 * @param timeoutMs the limit that passed, when `outcome` is a time-out
 * @param observe asks a running VM where it is
 */
export async function explain(
  outcome: Outcome,
  watched: readonly Watched[],
  timeoutMs: number | undefined,
  observe: (one: Watched) => Promise<Observation | undefined>,
): Promise<string[]> {
  if (outcome.kind === 'interrupted') return [];
  const lines = watched.flatMap(ending);
  if (outcome.kind !== 'timeout') return lines;
  const seconds = (timeoutMs ?? 0) / 1000;
  const running = watched.filter((one) => one.exit === undefined);
  const activities = await Promise.all(
    running.map(async (one) => [
      ...activity(one, await observe(one)),
      ...(one.waits && one.done ? ['  it has printed the text of --until'] : []),
    ]),
  );
  const message = `${seconds} s have passed, ${running.length} of ${watched.length} VMs still run`;
  return [new PandoError('TIMEOUT', message).toLine(), ...activities.flat(), ...lines];
}
