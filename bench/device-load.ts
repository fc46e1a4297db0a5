/**
 * Network and disk of a guest, beside `qemu-system-x86_64 -accel tcg -netdev user` and virtio-blk: the same
 * kernel, initrd, guest program, disk and server on the host; in each boot all workloads of
 * bench/guest/device-load.c one after another, the systems in turn.
 *
 *     pando image pull debian --kernel-package linux-image-6.12.117+deb12-cloud-amd64 --name debian-6.12-cloud
 *     npm run bench -- device-load [--runs 5] [--only tcp-in,http] [--image NAME] [--cpus-allowed LIST] [--json FILE]
 *
 * Speed is QEMU's median time over Pando's, by the clock and by the monitor's processor time: 1 is as fast
 * as QEMU. QEMU's devices are virtio-pci (q35), whose driver Debian's 6.12 cloud kernel has built in; Pando's
 * are virtio-mmio. QEMU's microvm has these too, but Linux finds no clock there when the host is busy.
 */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { qemuVersion } from '#dist/debug/qemu-peer.js';
import { chooseBootImage } from '#dist/image/boot-image.js';
import { writeCpio } from '#dist/loader/cpio-writer.js';
import { measure, printComparison, type System, writeComparison } from './comparison.js';
import { DeviceLoadServer } from './device-load-server.js';
import { onProcessors } from './marked-process.js';

/** dist/benches/ is as deep below the project as the sources are below the folder that holds them. */
const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
const SOURCE = join(PROJECT, 'bench/guest/device-load.c');
const COMPILER = 'gcc';
const PROGRAM = '/device-load';
const LIMIT_MS = 600_000;
const MEMORY = '512M';
const DISK_BYTES = 256 << 20;
const BOUNDS = { mean: 1, each: 1 };

const { values } = parseArgs({
  args: process.argv.slice(2),
  options: {
    runs: { type: 'string', default: '5' },
    only: { type: 'string' },
    image: { type: 'string', default: 'debian-6.12-cloud' },
    'cpus-allowed': { type: 'string' },
    json: { type: 'string' },
  },
});
const runs = Number(values.runs);
if (!(runs >= 1)) throw new Error('--runs is no useful number');

/** The guest's program, made here: it needs nothing but the kernel. */
function guestProgram(folder: string): Uint8Array {
  const path = join(folder, 'device-load');
  const made = spawnSync(COMPILER, ['-O2', '-static', '-o', path, SOURCE], { encoding: 'utf8' });
  if (made.status !== 0) throw new Error(`${COMPILER}: ${made.error?.message ?? made.stderr}`);
  return readFileSync(path);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

interface Guest {
  readonly kernel: string;
  readonly initrd: string;
  readonly commandLine: string;
  readonly disk: string;
  /** Of the host: leads to port 80 of the guest. */
  readonly guestPort: number;
  /** Of the server that the guest connects to. */
  readonly hostPort: number;
}

function ownWords(guest: Guest): string[] {
  const { kernel, initrd, commandLine, disk, guestPort, hostPort } = guest;
  return [
    [join(PROJECT, 'bin/pando.js'), 'run', '--accel', 'wasm', '--kernel', kernel],
    ['--initrd', initrd, '--append', `${commandLine} bench.gateway=10.0.2.1`],
    ['--memory', MEMORY, '--serial', 'stdio', '--disk', `${disk},rw`, '--net', 'user'],
    ['--allow', `127.0.0.1:${hostPort}`, '--publish', `127.0.0.1:${guestPort}:80`],
  ].flat();
}

function peerWords(guest: Guest): string[] {
  const { kernel, initrd, commandLine, disk, guestPort } = guest;
  return [
    ['-machine', 'q35,accel=tcg,sata=off,smbus=off,vmport=off', '-m', MEMORY, '-smp', '1'],
    ['-display', 'none', '-no-user-config', '-nodefaults', '-no-reboot', '-serial', 'stdio'],
    ['-kernel', kernel, '-initrd', initrd],
    ['-append', `${commandLine} bench.gateway=10.0.2.2`],
    ['-drive', `id=disk,file=${disk},format=raw,if=none`],
    ['-device', 'virtio-blk-pci,drive=disk'],
    ['-netdev', `user,id=net,hostfwd=tcp:127.0.0.1:${guestPort}-:80`],
    ['-device', 'virtio-net-pci,netdev=net'],
  ].flat();
}

const image = await chooseBootImage({ image: values.image, modules: true }, () => undefined);
const folder = mkdtempSync(join(tmpdir(), 'pando-device-load-'));
const guestPort = await freePort();
const server = await DeviceLoadServer.listen(guestPort);
try {
  const content = guestProgram(folder);
  const program = { kind: 'file', name: PROGRAM.slice(1), permissions: 0o755, content } as const;
  const initrd = join(folder, 'initrd');
  // Linux unpacks archives that follow one another into the same tree.
  const archives = [image.initrd, image.modules].map((path) => readFileSync(path ?? ''));
  writeFileSync(initrd, Buffer.concat([...archives, writeCpio([program])]));
  const disk = join(folder, 'disk');
  writeFileSync(disk, Buffer.alloc(DISK_BYTES, 'd'));
  const only = values.only === undefined ? '' : ` bench.only=${values.only}`;
  const guest: Guest = {
    kernel: image.kernel,
    initrd,
    commandLine: `${image.commandLine} pando.exec=${PROGRAM} bench.port=${server.port}${only}`,
    disk,
    guestPort,
    hostPort: server.port,
  };
  const system = (title: string, name: string, words: readonly string[]): System => ({
    title,
    ...onProcessors(values['cpus-allowed'], name, words),
  });
  const own = [system('Pando', process.execPath, ownWords(guest))];
  const peer =
    qemuVersion() === undefined ? [] : [system('QEMU TCG', 'qemu-system-x86_64', peerWords(guest))];
  const all = await measure([...own, ...peer], runs, LIMIT_MS);
  printComparison(all.slice(0, own.length), all[own.length], BOUNDS);
  if (values.json !== undefined) writeComparison(values.json, 'device-load', all);
} finally {
  server.close();
  rmSync(folder, { recursive: true, force: true });
}
