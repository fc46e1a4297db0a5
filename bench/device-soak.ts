/**
 * A guest whose disk and network are under load while the host's ends of them fail and come back: the disk
 * fills (RLIMIT_FSIZE, setrlimit(2): writes past the limit fail), the server goes with all its connections and
 * listens again, the network's cable is pulled and frames are lost. The guest
 * (bench/guest/device-soak.c) checks that each acknowledged write is there and that what it sends comes back,
 * and that nothing waits for ever. What the process holds is sampled: it must not grow.
 *
 *     pando image pull
 *     npm run build && npx tsc -p bench && node dist/benches/device-soak.js [--minutes 10]
 *
 * The exit status is 1 when something was lost, hung or grew. Needs gcc and prlimit(1).
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Frame, FrameLink, FrameStation } from '#dist/devices/frame-link.js';
import { ensureImage } from '#dist/image/ensure-image.js';
import { writeCpio } from '#dist/loader/cpio-writer.js';
import { Network } from '#dist/net/network.js';
import { ownProcess } from '#dist/platform/own-process.js';
import { Vm } from '#dist/vm/vm.js';
import { growthOf } from './growth.js';
import { GuestConsole } from './guest-console.js';
import { type ProcessFigures, processFigures } from './process-figures.js';

ownProcess();
const { values } = parseArgs({ options: { minutes: { type: 'string', default: '10' } } });
const SECONDS = Number(values.minutes) * 60;
if (!(SECONDS > 0)) throw new Error('--minutes is no useful number');

/** dist/benches/ is as deep below the project as the sources are below the folder that holds them. */
const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
const COMPILER = 'gcc';
const DISK_BYTES = 64 << 20;
const SAMPLE_MS = 2000;
const WARM_UP_MS = 60_000;
/** Seconds that the guest may need beyond its time: to boot, and to be heard once more. */
const PATIENCE_SECONDS = 400;

/** A link whose cable can be pulled: while it is, frames of both directions are lost. */
class FlappingLink implements FrameLink {
  #station: FrameStation | undefined;
  #up = true;

  constructor(private readonly link: FrameLink) {}

  get mac(): Uint8Array {
    return this.link.mac;
  }

  get mtu(): number {
    return this.link.mtu;
  }

  get offloads(): FrameLink['offloads'] {
    return this.link.offloads;
  }

  set up(up: boolean) {
    this.#up = up;
    this.#station?.carrier(up);
  }

  attach(station: FrameStation): void {
    this.#station = station;
    const up = (): boolean => this.#up;
    this.link.attach({
      get offloads() {
        return station.offloads;
      },
      receive: (frame) => !up() || station.receive(frame),
      sendReady: () => station.sendReady(),
      carrier: (plugged) => station.carrier(plugged),
    });
  }

  send(frame: Frame): boolean {
    return !this.#up || this.link.send(frame);
  }

  receiveReady(): void {
    this.link.receiveReady();
  }

  close(): void {
    this.link.close();
  }
}

/** Sends back what it gets: `echo N`, a line, then N bytes. */
class EchoServer {
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  port = 0;

  async open(): Promise<void> {
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      let line = true;
      socket.on('close', () => this.#sockets.delete(socket)).on('error', () => socket.destroy());
      socket.on('data', (piece) => {
        // The guest sends everything before it reads, so nothing is held back.
        const from = line ? piece.indexOf('\n') + 1 : 0;
        if (line) line = from === 0;
        if (!line && from < piece.length) socket.write(piece.subarray(from));
      });
    }).listen(this.port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.port = (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.resetAndDestroy();
    this.#server?.close();
    if (this.#server !== undefined) await once(this.#server, 'close');
    this.#server = undefined;
  }
}

function limitFiles(bytes: number | 'unlimited'): void {
  execFileSync('prlimit', ['--pid', String(process.pid), `--fsize=${bytes}:unlimited`]);
}

/** Milliseconds between two bounds. */
const between = (least: number, most: number): number => least + Math.random() * (most - least);

const events = { servers: 0, disks: 0, cables: 0 };
const state = { over: false };

/** Fails and mends something until the end. */
async function disturb(
  name: keyof typeof events,
  fail: () => Promise<void> | void,
  mend: () => Promise<void> | void,
): Promise<void> {
  while (!state.over) {
    await sleep(between(2000, 6000));
    await fail();
    await sleep(between(100, 2500));
    await mend();
    events[name] += 1;
  }
}

function guestInitrd(folder: string, initrd: string): string {
  const program = join(folder, 'device-soak');
  const source = join(PROJECT, 'bench/guest/device-soak.c');
  const made = spawnSync(COMPILER, ['-O2', '-static', '-o', program, source], { encoding: 'utf8' });
  if (made.status !== 0) throw new Error(made.error?.message ?? made.stderr);
  const content = readFileSync(program);
  const entry = { kind: 'file', name: 'device-soak', permissions: 0o755, content } as const;
  const path = join(folder, 'initrd');
  writeFileSync(path, Buffer.concat([readFileSync(initrd), writeCpio([entry])]));
  return path;
}

// A write past the limit sends this, too, whose default is to end the process.
process.on('SIGXFSZ', () => {});
const image = await ensureImage('debian', { progress: () => {}, modules: true });
const folder = mkdtempSync(join(tmpdir(), 'pando-device-soak-'));
const disk = join(folder, 'disk');
writeFileSync(disk, '');
truncateSync(disk, DISK_BYTES);
const server = new EchoServer();
await server.open();
const network = new Network({ allow: [`127.0.0.1:${server.port}`] });
const link = new FlappingLink(await network.link());
const wrong: string[] = [];
const samples: ProcessFigures[] = [];
const said = new Map<string, string>();

async function sample(): Promise<void> {
  await sleep(WARM_UP_MS);
  for (let count = 0; !state.over; count += 1) {
    samples.push(processFigures());
    if (count % 15 === 0) console.log([...said.values()].join(', '), JSON.stringify(events));
    await sleep(SAMPLE_MS);
  }
}

async function watch(console: GuestConsole): Promise<void> {
  const deadline = performance.now() + (SECONDS + PATIENCE_SECONDS) * 1000;
  for (;;) {
    const left = (deadline - performance.now()) / 1000;
    const [, mark = '', rest = ''] = await console.expect(/@(\w+)([^\r\n]*)\r*\n/, left);
    if (mark === 'wrong') wrong.push(rest.trim());
    if (mark === 'disk') said.set('disk', `disk: written, failed, read${rest}`);
    if (mark === 'network') said.set(rest.slice(0, 2), `client: echoed, failed${rest.slice(2)}`);
    if (mark === 'done') return;
  }
}

try {
  await using vm = await Vm.create({
    kernel: image.kernelPath,
    initrd: guestInitrd(folder, image.initrdPath ?? ''),
    modules: image.modulesPath,
    commandLine: `${image.commandLine} quiet pando.exec=/device-soak bench.gateway=10.0.2.1 bench.port=${server.port} bench.seconds=${SECONDS}`,
    memory: 256 << 20,
    accelerator: 'wasm',
    disks: [{ path: disk, mode: 'rw' }],
    net: link,
  });
  const guest = new GuestConsole(vm);
  vm.start();
  await guest.expect(/user space is up/, PATIENCE_SECONDS);
  const work = [
    disturb(
      'servers',
      () => server.close(),
      () => server.open(),
    ),
    disturb(
      'disks',
      () => limitFiles(DISK_BYTES / 2),
      () => limitFiles('unlimited'),
    ),
    disturb(
      'cables',
      () => {
        link.up = false;
      },
      () => {
        link.up = true;
      },
    ),
    sample(),
  ];
  try {
    await watch(guest);
  } finally {
    state.over = true;
    await Promise.all(work);
  }
} catch (error) {
  wrong.push(String(error));
} finally {
  limitFiles('unlimited');
  network.close();
  await server.close();
  rmSync(folder, { recursive: true });
}
const grown = growthOf(samples);
for (const line of said.values()) console.log(line);
console.log(`${JSON.stringify(events)}; ${wrong.length} wrong`);
for (const line of wrong.slice(0, 20)) console.log(line);
process.exitCode = wrong.length > 0 || grown.length > 0 ? 1 : 0;
