/** Figures for Prometheus, in its text format 0.0.4. */
import type { SandboxTable } from './sandbox-table.js';

function family(
  name: string,
  type: 'gauge' | 'counter',
  help: string,
  samples: readonly (readonly [labels: string, value: number])[],
): string {
  const lines = samples.map(([labels, value]) => `pando_${name}${labels} ${value}`);
  return [`# HELP pando_${name} ${help}`, `# TYPE pando_${name} ${type}`, ...lines, ''].join('\n');
}

export function metricsText(table: SandboxTable, requests: number): string {
  const sandboxes = table.list();
  const inState = (wanted: string): number =>
    sandboxes.filter(({ state }) => state === wanted).length;
  const { created, failed, killed, expired, crashed } = table.counts;
  return [
    family('sandboxes', 'gauge', 'Sandboxes by state.', [
      ['{state="running"}', inState('running')],
      ['{state="paused"}', inState('paused')],
    ]),
    family('guest_memory_bytes', 'gauge', 'Guest RAM of all sandboxes.', [['', table.memory]]),
    family('processes', 'gauge', 'Processes that clients have started.', [
      ['', sandboxes.reduce((sum, { processes }) => sum + processes.list().length, 0)],
    ]),
    family('sandboxes_created_total', 'counter', 'Sandboxes made.', [['', created]]),
    family('sandboxes_failed_total', 'counter', 'Sandboxes that could not be made.', [
      ['', failed],
    ]),
    family('sandboxes_ended_total', 'counter', 'Sandboxes that have ended, by cause.', [
      ['{cause="killed"}', killed],
      ['{cause="expired"}', expired],
      ['{cause="crashed"}', crashed],
    ]),
    family('requests_total', 'counter', 'Requests.', [['', requests]]),
    family('process_resident_bytes', 'gauge', 'Resident memory of the server.', [
      ['', process.memoryUsage.rss()],
    ]),
  ].join('');
}
