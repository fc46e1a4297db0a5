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
      reboot: true,
      pidFile: undefined,
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
  assert.equal(parse('-serial', 'file:/tmp/x').serial, 'file:/tmp/x');
  for (const [chardev, serial] of [
    ['stdio,id=c', 'stdio'],
    ['stdio,id=c,mux=on,signal=off', 'stdio'],
    ['file,id=c,path=/tmp/x', 'file:/tmp/x'],
    ['null,id=c', 'null'],
  ] as const) {
    assert.equal(parse('-chardev', chardev, '-serial', 'chardev:c').serial, serial);
    assert.equal(parse('-serial', 'chardev:c', '-chardev', chardev).serial, serial);
  }
  assert.equal(parse('-serial', 'stdio', '-serial', 'none').serial, 'stdio');
  assert.equal(parse('--no-reboot').reboot, false);
  assert.equal(parse('-pidfile', '/tmp/pid').pidFile, '/tmp/pid');
  assert.equal(parse('--display', 'none').ignored[0]?.word, '-display none');
  assert.equal(qemuNote(parse()), '');
});

test('what changes nothing for the guest is taken, and named once', () => {
  for (const words of [
    ...[
      ['-net', 'none'],
      ['-nic', 'none'],
      ['-vnc', 'none'],
      ['-qmp', 'none'],
      ['-audio', 'none'],
    ],
    ...[
      ['-audiodev', 'none,id=a'],
      ['-audiodev', 'driver=none,id=a'],
      ['-msg', 'timestamp=on'],
    ],
    ...[
      ['-sandbox', 'on'],
      ['-no-shutdown'],
      ['-no-kvm-irqchip'],
      ['-snapshot'],
      ['-mem-prealloc'],
    ],
    ...[
      ['-mem-path', '/dev/shm'],
      ['-overcommit', 'mem-lock=off'],
      ['-boot', 'order=c'],
    ],
    ...[
      ['-boot', 'strict=on'],
      ['-L', '/usr/share/qemu'],
      ['-D', 'log'],
      ['-d', 'guest_errors'],
    ],
    ...[
      ['-uuid', '7ba3d1b2-5b0a-4f1e-9c3e-000000000000'],
      ['-k', 'de'],
      ['-rtc', 'clock=host'],
    ],
    ...[
      ['-rtc', 'base=utc,clock=host'],
      ['-mon', 'chardev=c,mode=readline'],
      ['-trace', 'none'],
    ],
  ]) {
    const { ignored } = parseQemuCommandLine(['-kernel', 'k', ...words, ...words]);
    assert.deepEqual(
      ignored.map(({ word }) => word),
      [words.join(' ')],
    );
  }
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
    ['QEMU_OPTION_UNSUPPORTED', ['-kernel', 'k', '-nic', 'user']],
    ['QEMU_OPTION_UNSUPPORTED', ['-kernel', 'k', '-serial', 'chardev:c']],
    ['QEMU_OPTION_UNSUPPORTED', ['-kernel', 'k', '-chardev', 'socket,id=c,path=/s']],
    ['QEMU_OPTION_UNSUPPORTED', ['-kernel', 'k', '-chardev', 'file,id=c,path=f,append=on']],
    ['QEMU_OPTION_UNSUPPORTED', ['-kernel', 'k', '-serial', 'stdio', '-serial', 'file:x']],
    ['QEMU_OPTION_UNSUPPORTED', ['-kernel', 'k', '-rtc', 'base=localtime']],
    ['QEMU_OPTION_UNSUPPORTED', ['-kernel', 'k', 'disk.img']],
  ];
  for (const [code, words] of cases) {
    assert.throws(() => parseQemuCommandLine(words), { code }, words.join(' '));
  }
});
