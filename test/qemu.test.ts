/** The command line of QEMU's PVH boot series, word for word, boots Debian's kernel by PVH. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { debianImage } from './testing/boot.js';

const PANDO = fileURLToPath(new URL('../../bin/pando.js', import.meta.url));
const image = await debianImage();

const MACHINE = [
  ...['-bios', 'bios-256k.bin', '-no-hpet'],
  ...['-machine', 'q35,accel=kvm,kernel_irqchip,nvdimm,sata=off,smbus=off,vmport=off'],
  ...['-cpu', 'host', '-m', '1G', '-smp', '1', '-vga', 'none', '-display', 'none'],
  ...['-no-user-config', '-nodefaults'],
];

/** Runs `pando qemu` until the guest powers off. */
async function qemu(
  ...words: string[]
): Promise<{ status: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, [PANDO, 'qemu', ...words], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 900_000,
  });
  let out = '';
  let err = '';
  child.stdout.setEncoding('latin1').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  const status = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { status, out, err };
}

test('the command line of the series boots to user space and names what it changes nothing by', async () => {
  const guest = ['-kernel', image.kernelPath, '-initrd', image.initrdPath!];
  // The guest powers off once its user space has run the program: nothing else ends it with status 0.
  const append = `${image.commandLine} pando.exec=/bin/true`;
  const { status, out, err } = await qemu(...MACHINE, ...guest, '-append', append);
  assert.equal(status, 0, err);
  assert.equal(out, '', 'without -serial there is no console, as with QEMU');
  for (const word of ['-bios bios-256k.bin', '-machine q35', 'nvdimm', 'smbus=off', '-cpu host']) {
    assert.equal(err.split(`\n  ${word}: `).length, 2, `${word} is named once:\n${err}`);
  }
});

test('the same with -serial stdio shows the console', async () => {
  const guest = ['-kernel', image.kernelPath, '-initrd', image.initrdPath!, '-serial', 'stdio'];
  const append = `${image.commandLine} pando.exec=/bin/dmesg`;
  const { status, out, err } = await qemu(...MACHINE, ...guest, '-append', append);
  assert.equal(status, 0, err);
  assert.match(out, /Booting paravirtualized kernel/);
  assert.match(out, /Pando: \/bin\/dmesg ended with 0/);
});
