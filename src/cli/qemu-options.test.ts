import assert from 'node:assert/strict';
import { test } from 'node:test';
import { qemuNote, withAccelerator } from './qemu.js';
import { parseQemuCommandLine } from './qemu-options.js';

const SERIES = [
  ...['-bios', 'bios-256k.bin', '-no-hpet', '-machine'],
  'q35,accel=kvm,kernel_irqchip,nvdimm,sata=off,smbus=off,vmport=off',
  ...['-cpu', 'host', '-m', '1G', '-smp', '1', '-vga', 'none', '-display', 'none'],
  ...['-no-user-config', '-nodefaults', '-kernel', 'vmlinux', '-initrd', 'rd', '-append', 'a b=c'],
];

test('the command line of the series', () => {
  const request = parseQemuCommandLine(SERIES);
  assert.deepEqual(
    { ...request, ignored: request.ignored.map(({ word }) => word) },
    {
      kernel: 'vmlinux',
      initrd: 'rd',
      append: 'a b=c',
      memory: 2 ** 30,
      cpus: 1,
      accelerator: 'auto',
      accelerators: 'kvm',
      serial: 'null',
      ignored: [
        '-bios bios-256k.bin',
        '-no-hpet',
        '-machine q35',
        'kernel_irqchip',
        'nvdimm',
        'sata=off',
        'smbus=off',
        'vmport=off',
        '-cpu host',
        '-vga none',
        '-display none',
        '-no-user-config',
        '-nodefaults',
      ],
    },
  );
  assert.equal(withAccelerator(request, { choice: 'kvm', reason: '' }), request);
  const onWasm = withAccelerator(request, { choice: 'wasm', reason: 'no /dev/kvm' });
  assert.deepEqual(onWasm.ignored.at(-1), {
    word: 'accel=kvm',
    why: 'the wasm accelerator takes its place: no /dev/kvm',
  });
  const note = qemuNote(onWasm);
  for (const { word } of onWasm.ignored) {
    assert.equal(note.split(`  ${word}: `).length, 2, `${word} is named once`);
  }
});

test('what has a meaning', () => {
  const parse = (...words: string[]) => parseQemuCommandLine(['-kernel', 'k', ...words]);
  assert.equal(parse().memory, 128 * 2 ** 20);
  assert.equal(parse('-m', '512').memory, 512 * 2 ** 20);
  assert.equal(parse('-m', 'size=2G').memory, 2 ** 31);
  assert.equal(parse('-smp', 'cpus=2,sockets=1,cores=2,maxcpus=2').cpus, 2);
  assert.equal(parse().accelerator, 'wasm', 'QEMU emulates unless told otherwise');
  assert.equal(parse('-enable-kvm').accelerator, 'auto');
  assert.equal(parse('-accel', 'tcg,thread=single').accelerator, 'wasm');
  assert.equal(parse('-M', 'pc,accel=kvm:tcg').accelerator, 'auto');
  assert.equal(parse('-nodefaults', '-serial', 'stdio').serial, 'stdio');
  assert.equal(parse('-nodefaults', '-nographic').serial, 'null');
  assert.equal(parse('--display', 'none').ignored[0]?.word, '-display none');
  assert.equal(qemuNote(parse()), '');
});

test('what would change the guest, or is no command line, is an error', () => {
  const cases: readonly (readonly [string, readonly string[]])[] = [
    ['QEMU_KERNEL_MISSING', ['-m', '1G']],
    ['QEMU_OPTION_INVALID', ['-kernel']],
    ['QEMU_OPTION_INVALID', ['-kernel', 'k', '-m', 'lots']],
    ['QEMU_OPTION_INVALID', ['-kernel', 'k', '-smp', '0']],
    ['QEMU_OPTION_UNSUPPORTED', ['-kernel', 'k', '-m', '1G,slots=2,maxmem=2G']],
    ['QEMU_OPTION_UNSUPPORTED', ['-kernel', 'k', '-smp', '1,maxcpus=2']],
    ['QEMU_OPTION_UNSUPPORTED', ['-kernel', 'k', '-machine', 'q35,sata=on']],
    ['QEMU_OPTION_UNSUPPORTED', ['-kernel', 'k', '-machine', 'isapc']],
    ['QEMU_OPTION_UNSUPPORTED', ['-kernel', 'k', '-machine', 'q35,accel=xen']],
    ['QEMU_OPTION_UNSUPPORTED', ['-kernel', 'k', '-vga', 'std']],
    ['QEMU_OPTION_UNSUPPORTED', ['-kernel', 'k', '-cpu', 'Nehalem']],
    ['QEMU_OPTION_UNSUPPORTED', ['-kernel', 'k', '-drive', 'file=x']],
    ['QEMU_OPTION_UNSUPPORTED', ['-kernel', 'k', '-serial', 'vc']],
    ['QEMU_OPTION_UNSUPPORTED', ['-kernel', 'k', '-no-reboot']],
    ['QEMU_OPTION_UNSUPPORTED', ['-kernel', 'k', 'disk.img']],
  ];
  for (const [code, words] of cases) {
    assert.throws(() => parseQemuCommandLine(words), { code }, words.join(' '));
  }
});
