/**
 * A v86 (https://github.com/copy/v86) in a process of its own, for against-v86.ts: boots a multiboot file
 * and writes what the guest writes to its first serial port.
 *
 *     node dist/benches/v86-guest.js FOLDER-OF-V86 FOLDER-OF-SEABIOS FILE MEGABYTES
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

/** The part of v86's interface that is used. */
interface V86Module {
  readonly V86: new (
    options: object,
  ) => {
    add_listener(event: 'serial0-output-byte', listener: (byte: number) => void): void;
  };
}

const [folder = '', firmware = '', payload = '', megabytes = ''] = process.argv.slice(2);

function file(path: string): { buffer: ArrayBuffer } {
  return { buffer: new Uint8Array(readFileSync(path)).buffer };
}

const { V86 } = (await import(pathToFileURL(join(folder, 'build/libv86.mjs')).href)) as V86Module;
const emulator = new V86({
  wasm_path: join(folder, 'build/v86.wasm'),
  memory_size: Number(megabytes) * 2 ** 20,
  vga_memory_size: 2 ** 21,
  bios: file(join(firmware, 'bios.bin')),
  vga_bios: file(join(firmware, 'vgabios-stdvga.bin')),
  multiboot: file(payload),
  autostart: true,
  disable_keyboard: true,
  disable_mouse: true,
  disable_speaker: true,
});
let line: number[] = [];
emulator.add_listener('serial0-output-byte', (byte) => {
  line.push(byte);
  if (byte !== 10) return;
  process.stdout.write(Buffer.from(line));
  line = [];
});
