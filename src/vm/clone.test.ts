/** Clones and snapshots of a guest that counts ticks: each goes on with the number that comes next. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { COUNT, GuestCode } from '../accel/conformance/testing/guest.js';
import { ACCELERATORS, absence, Subject } from '../accel/conformance/testing/subject.js';
import { LOCAL_APIC_ADDRESS } from '../arch/layout.js';
import { PandoError } from '../error.js';
import { Vm } from './vm.js';

const TICKS = 60;
/** Nanoseconds: whoever has seen the first ticks on a busy machine still finds the guest counting. */
const TICK = 40_000_000;
const EXPECTED = Array.from({ length: TICKS }, (_, i) => (i + 1).toString(16).padStart(8, '0'));

const store = mkdtempSync(join(tmpdir(), 'pando-snapshots-'));
process.env.PANDO_STORE = store;
after(() => rmSync(store, { recursive: true }));

/** Fills memory with what no image has, then prints a number at each tick of the local APIC's timer. */
function counting(): GuestCode {
  const code = new GuestCode().stack().interruptTable().gate(0x41, 'apic');
  code.mov('edi', 0x400000).mov('ecx', 0x100000).mov('eax', 0xa5a5a5a5).emit('f3ab');
  code.storeValue(LOCAL_APIC_ADDRESS + 0xf0, 0x1ff);
  code.storeValue(LOCAL_APIC_ADDRESS + 0x3e0, 0xb);
  code.storeValue(LOCAL_APIC_ADDRESS + 0x320, 0x20041);
  code.storeValue(LOCAL_APIC_ADDRESS + 0x380, TICK);
  for (let tick = 1; tick <= TICKS; tick++) code.sleepUntilCount(tick).mov('eax', tick).call('hex');
  code.showMemory('filled', 0x7ffffc).powerOff();
  return code.countingHandler('apic', 'apic');
}

/** Everything that a VM prints until it powers off. */
async function finish(vm: Vm): Promise<string[]> {
  let text = '';
  vm.onConsole((bytes) => {
    text += Buffer.from(bytes).toString('latin1');
  });
  vm.start();
  assert.deepEqual(await vm.exited, { kind: 'poweroff' });
  await vm.close();
  return text.split('\n').slice(0, -1);
}

/** What it prints must be the end of what a machine prints that nobody has copied, from a whole line on. */
function assertGoesOn(lines: readonly string[]): void {
  const whole = [...EXPECTED, 'filled=a5a5a5a5'];
  const rest = lines.at(0)?.length === 8 ? lines : lines.slice(1);
  assert.ok(rest.length > 1 && rest.length < TICKS, `${rest.length} lines`);
  assert.deepEqual(rest, whole.slice(-rest.length));
}

const coded = (code: string) => (error: unknown) =>
  error instanceof PandoError && error.code === code;

for (const accelerator of ACCELERATORS) {
  describe(`clones on ${accelerator}`, { skip: absence(accelerator) }, () => {
    test('parent and clones go on from the same moment, also clones of clones', async () => {
      await using subject = await Subject.create(accelerator, counting());
      subject.vm.start();
      await subject.until('00000005');
      const first = await subject.vm.clone(2);
      assert.deepEqual(
        first.map(({ status }) => status),
        ['fulfilled', 'fulfilled'],
      );
      const [one, two] = first.map((result) => (result as PromiseFulfilledResult<Vm>).value);
      const [third] = await two!.clone();
      const three = (third as PromiseFulfilledResult<Vm>).value;
      for (const lines of await Promise.all([one!, two!, three].map(finish))) assertGoesOn(lines);
      assert.deepEqual(await subject.vm.exited, { kind: 'poweroff' });
      const printed = subject.text.split('\n').slice(0, -1);
      assert.deepEqual(printed, [...EXPECTED, 'filled=a5a5a5a5']);
      await assert.rejects(subject.vm.clone(), coded('VM_ENDED'));
    });

    test('many captures of one guest keep few files, and its memory', async () => {
      await using subject = await Subject.create(accelerator, counting());
      subject.vm.start();
      await subject.until('00000002');
      for (let i = 0; i < 20; i++) {
        await subject.vm.pause();
        const [result] = await subject.vm.clone();
        subject.vm.start();
        const clone = (result as PromiseFulfilledResult<Vm>).value;
        assert.equal(readFileSync('/proc/self/maps', 'latin1').includes('pando-capture'), true);
        await clone.close();
      }
      assert.deepEqual(await subject.vm.exited, { kind: 'poweroff' });
      assert.match(subject.text, /filled=a5a5a5a5\n$/);
    });

    test('a snapshot is restored as often as one likes, and outlives its VM', async () => {
      const name = `counting-${accelerator}`;
      {
        await using subject = await Subject.create(accelerator, counting());
        subject.vm.start();
        await subject.until('00000007');
        await subject.vm.pause();
        const manifest = await subject.vm.snapshot({ name });
        assert.equal(manifest.machine.accelerator, accelerator);
        assert.ok(manifest.pages.size >= 4 << 20);
        await assert.rejects(subject.vm.snapshot({ name }), coded('SNAPSHOT_EXISTS'));
        await subject.vm.snapshot({ name, replace: true });
        await assert.rejects(subject.vm.snapshot({ name: '../x' }), coded('SNAPSHOT_NAME_INVALID'));
        subject.vm.start();
        assert.deepEqual(await subject.vm.exited, { kind: 'poweroff' });
      }
      const restored = await Promise.all([
        Vm.restore({ snapshot: name }),
        Vm.restore({ snapshot: name }),
      ]);
      for (const lines of await Promise.all(restored.map(finish))) assertGoesOn(lines);
      await assert.rejects(Vm.restore({ snapshot: 'no-such' }), coded('SNAPSHOT_NOT_FOUND'));
    });
  });
}

test('a reset of a clone boots the image again', async () => {
  const code = new GuestCode().stack().print('boot\n').interruptTable();
  // The guest counts its boots in CMOS, which a reset keeps: the second time it powers off.
  code.storeValue(COUNT, 0).print('wait\n').label('poll').emit('66bafd03 ec a801').j('z', 'poll');
  code
    .emit('66baf803 ec 3c72')
    .j('nz', 'off')
    .out(0xcf9, 0x06)
    .label('halt')
    .emit('f4')
    .jmp('halt');
  code.label('off').print('off\n').powerOff();
  await using subject = await Subject.create('wasm', code);
  subject.vm.start();
  await subject.until('wait');
  const [result] = await subject.vm.clone();
  const clone = (result as PromiseFulfilledResult<Vm>).value;
  let text = '';
  clone.onConsole((bytes) => {
    text += Buffer.from(bytes).toString('latin1');
    if (text.endsWith('wait\n')) clone.writeConsole(Buffer.from('o'));
  });
  clone.start();
  clone.writeConsole(Buffer.from('r'));
  assert.deepEqual(await clone.exited, { kind: 'poweroff' });
  assert.equal(text, 'boot\nwait\noff\n');
  await clone.close();
});

test('a snapshot that is damaged or incomplete makes one coded error, and leaves nothing', async () => {
  const name = 'damaged';
  {
    await using subject = await Subject.create('wasm', counting());
    subject.vm.start();
    await subject.until('00000003');
    await subject.vm.snapshot({ name });
  }
  const snapshots = join(store, 'snapshots');
  const path = join(snapshots, `${name}.json`);
  const file = readFileSync(path, 'utf8');
  const [good = ''] = file.split('\n');
  const descriptors = (): number => readdirSync('/proc/self/fd').length;
  await (await Vm.restore({ snapshot: name })).close();
  await sleep(50);
  const before = descriptors();
  const write = (text: string): void => {
    chmodSync(path, 0o600);
    const sum = createHash('sha256').update(text).digest('hex');
    writeFileSync(path, `${text}\n${sum}\n`);
  };
  const fails = async (text: string): Promise<string> => {
    write(text);
    const error: unknown = await Vm.restore({ snapshot: name }).then(
      async (vm) => {
        await vm.close();
        return undefined;
      },
      (cause: unknown) => cause,
    );
    assert.ok(error instanceof PandoError, `${text.slice(0, 80)}: ${String(error)}`);
    return error.code;
  };
  for (let i = 0; i < 40; i++) {
    const cut = Math.floor((good.length * i) / 40);
    assert.equal(await fails(good.slice(0, cut)), 'SNAPSHOT_MANIFEST_INVALID');
  }
  const manifest = JSON.parse(good) as Record<string, unknown>;
  assert.equal(await fails(JSON.stringify({ ...manifest, format: 3 })), 'SNAPSHOT_FORMAT');
  for (const field of Object.keys(manifest)) {
    if (field !== 'code') {
      assert.match(await fails(JSON.stringify({ ...manifest, [field]: undefined })), /^SNAPSHOT_/);
    }
    assert.match(await fails(JSON.stringify({ ...manifest, [field]: 7 })), /^SNAPSHOT_/);
  }
  // Without what was decoded of its code, a machine decodes it.
  write(JSON.stringify({ ...manifest, code: undefined }));
  await (await Vm.restore({ snapshot: name })).close();
  const machine = manifest.machine as Record<string, unknown>;
  for (const field of Object.keys(machine)) {
    const changed = { ...manifest, machine: { ...machine, [field]: null } };
    assert.match(await fails(JSON.stringify(changed)), /^SNAPSHOT_/);
  }
  const runs = manifest.runs as number[][];
  for (const change of [
    [-1, 1],
    [1e9, 1],
    [0.5, 1],
  ] as const) {
    const moved = runs.map((run, i) => (i === 0 ? [change[0], ...run.slice(1)] : run));
    assert.equal(
      await fails(JSON.stringify({ ...manifest, runs: moved })),
      'SNAPSHOT_RUNS_INVALID',
    );
  }
  chmodSync(path, 0o600);
  writeFileSync(path, file);
  for (const part of ['pages', 'state', 'code', 'kernel']) {
    const { sha256 } = manifest[part] as { sha256: string };
    const object = join(snapshots, 'objects', sha256);
    renameSync(object, `${object}.away`);
    await assert.rejects(Vm.restore({ snapshot: name }), coded('SNAPSHOT_OBJECT_MISSING'));
    renameSync(`${object}.away`, object);
  }
  const state = (manifest.state as { sha256: string }).sha256;
  const object = join(snapshots, 'objects', state);
  const bytes = readFileSync(object);
  chmodSync(object, 0o600);
  truncateSync(object, bytes.length - 100);
  await assert.rejects(Vm.restore({ snapshot: name }), coded('SNAPSHOT_OBJECT_SIZE'));
  const shorter = { sha256: state, size: bytes.length - 100 };
  assert.equal(
    await fails(JSON.stringify({ ...manifest, state: shorter })),
    'SNAPSHOT_OBJECT_DAMAGED',
  );
  const cut = bytes.subarray(0, bytes.length - 100);
  const named = { sha256: createHash('sha256').update(cut).digest('hex'), size: cut.length };
  writeFileSync(join(snapshots, 'objects', named.sha256), cut);
  assert.equal(
    await fails(JSON.stringify({ ...manifest, state: named })),
    'SNAPSHOT_STATE_INVALID',
  );
  while (descriptors() > before) await sleep(5);
});
