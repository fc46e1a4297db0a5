/** `pando doctor`: what this host offers, each answer found by trying, and what Pando does with it. */
import type { Command } from 'commander';
import {
  type Capability,
  type HostCapabilities,
  probeCapabilities,
} from '../measure/capabilities.js';
import { type AcceleratorProbe, probeAccelerators } from '../run/accelerators.js';
import { STANDARD_STREAMS } from './terminal/standard-streams.js';
import { formatTable, type Style, styleFor } from './terminal/text-table.js';
import { mebibytes } from './terminal/units.js';

const LEAST_NODE = 20;

/** One thing that was looked at. */
export interface Finding {
  readonly subject: string;
  /** Whether Pando can use it. */
  readonly works: boolean;
  /** What was found. */
  readonly found: string;
  /** What Pando does because of it. */
  readonly consequence: string;
}

function answer(capability: Capability, good: string): string {
  return capability.works ? good : capability.why;
}

function kvmFinding({ kvm }: HostCapabilities, { choice, reason }: AcceleratorProbe): Finding {
  const version = kvm.apiVersion === undefined ? '' : `, API version ${kvm.apiVersion}`;
  return {
    subject: 'KVM',
    works: kvm.usable.works,
    found: answer(kvm.usable, `works${version}`),
    consequence: `--accel auto is ${choice}: ${reason}`,
  };
}

/** @param node the running Node's version, like `v20.20.2` */
export function findings(
  host: HostCapabilities,
  accelerators: AcceleratorProbe,
  node: string,
): Finding[] {
  const { memory, imageMapping, sealing, zeroPage, pageSize } = host;
  const recent = Number(/^v(\d+)/.exec(node)?.[1]) >= LEAST_NODE;
  const limit =
    memory.limit === undefined ? '' : `, control group's limit ${mebibytes(memory.limit)}`;
  return [
    {
      subject: 'Node.js',
      works: recent,
      found: node,
      consequence: recent ? 'new enough' : `Pando needs version ${LEAST_NODE} or later`,
    },
    kvmFinding(host, accelerators),
    {
      subject: 'image mapping',
      works: imageMapping.works,
      found: answer(imageMapping, 'files can be mapped over guest RAM'),
      consequence: imageMapping.works
        ? '--load map: VMs share the pages of kernel and initrd'
        : 'images are read: every VM has its own copy',
    },
    {
      subject: 'sealed memory',
      works: sealing.works,
      found: answer(sealing, 'memfd can be sealed'),
      consequence: sealing.works
        ? 'images outside the store are copied once and sealed'
        : 'only images of the store can be mapped (`pando image import`)',
    },
    {
      subject: 'page of zeros',
      works: zeroPage.works,
      found: answer(zeroPage, 'memory that is merely read takes none'),
      consequence: zeroPage.works
        ? 'guest RAM costs the pages that a guest writes'
        : 'guest RAM costs the pages that a guest reads, too',
    },
    {
      subject: 'page size',
      works: pageSize === 4096,
      found: `${pageSize} bytes`,
      consequence:
        pageSize === 4096 ? "the guests' page size" : 'pages of guest and host do not agree',
    },
    {
      subject: 'memory',
      works: true,
      found: `${mebibytes(memory.available)} available of ${mebibytes(memory.total)}${limit}`,
      consequence: 'guest RAM takes memory as it is touched; image pages count once',
    },
  ];
}

/** The findings as a table. */
export function findingsTable(list: readonly Finding[], style: Style): string {
  const columns = ['', 'subject', 'found', 'what Pando does'].map((title) => ({
    title,
    align: 'left' as const,
  }));
  const rows = list.map(({ subject, works, found, consequence }) => [
    works ? 'yes' : 'no',
    subject,
    found,
    consequence,
  ]);
  return formatTable(columns, rows, style);
}

/** Adds the command to the program. */
export function registerDoctorCommand(program: Command): void {
  program
    .command('doctor')
    .description('say what this host offers and what Pando does with it')
    .option('--json', 'as JSON')
    .action((flags: { readonly json?: boolean }) => {
      const host = probeCapabilities();
      const list = findings(host, probeAccelerators(), process.version);
      const { out } = STANDARD_STREAMS;
      out.write(
        flags.json === true
          ? `${JSON.stringify({ node: process.version, ...host, findings: list }, null, 2)}\n`
          : findingsTable(list, styleFor(out)),
      );
    });
}
