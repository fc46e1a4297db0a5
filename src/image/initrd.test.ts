import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { BytesSource } from '../loader/byte-source.js';
import { type CpioEntry, readCpio } from '../loader/cpio.js';
import { writeCpio } from '../loader/cpio-writer.js';
import { planElf } from '../loader/elf-plan.js';
import { writeFolderInitrd } from './folder.js';
import { INIT_SCRIPT, PROFILE, RUN_SCRIPT, USER_SPACE_LINE } from './init-script.js';
import { initrdEntries, listApplets } from './initrd.js';
import { inspectInitrdFile } from './inspect.js';
import { stageProgram } from './stage-program.js';

const folder = mkdtempSync(join(tmpdir(), 'pando-initrd-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function entries(archive: Uint8Array): Map<string, CpioEntry> {
  return new Map([...readCpio(new BytesSource(archive))].map((entry) => [entry.name, entry]));
}

function content(entry: CpioEntry | undefined): string {
  return Buffer.from(entry!.read()).toString();
}

describe('initrd of busybox', () => {
  const busybox = new TextEncoder().encode('the program');
  const applets = ['bin/sh', 'sbin/init', 'usr/bin/top', 'opt/x/tool', 'linuxrc', 'bin/busybox'];
  const archive = writeCpio(initrdEntries(busybox, applets));
  const found = entries(archive);

  it('holds busybox once and a link for each applet', () => {
    assert.equal(content(found.get('bin/busybox')), 'the program');
    assert.equal(found.get('bin/busybox')!.mode, 0o100755);
    for (const name of ['bin/sh', 'sbin/init', 'usr/bin/top', 'opt/x/tool']) {
      assert.equal(found.get(name)!.mode, 0o120777, name);
      assert.equal(content(found.get(name)), '/bin/busybox');
    }
    assert.equal(found.get('opt/x')!.mode, 0o040755);
    assert.equal(found.has('linuxrc'), false);
  });

  it('has what the kernel needs before /init runs', () => {
    const console = found.get('dev/console')!;
    assert.deepEqual([console.mode, console.rdevMajor, console.rdevMinor], [0o020600, 5, 1]);
    assert.equal(found.get('init')!.mode, 0o100755);
    assert.match(content(found.get('init')), /^#!\/bin\/busybox sh\n/);
    assert.ok(content(found.get('init')).includes(`echo '${USER_SPACE_LINE}'\n`));
    assert.equal(found.get('tmp')!.mode, 0o041777);
  });

  it('names root in a line without empty fields, as busybox needs it', () => {
    assert.match(content(found.get('etc/passwd')), /^root:[^:]+:0:0:[^:]+:\/root:\/bin\/sh\n$/);
  });

  it('is the same for the same busybox, in whatever order applets come', () => {
    assert.deepEqual(writeCpio(initrdEntries(busybox, [...applets].reverse())), archive);
    for (const entry of found.values()) {
      assert.deepEqual([entry.uid, entry.gid, entry.mtime], [0, 0, 0], entry.name);
    }
  });

  it('has scripts that a shell accepts', () => {
    for (const script of [INIT_SCRIPT, RUN_SCRIPT, PROFILE]) {
      const { status, stderr } = spawnSync('sh', ['-n'], { input: script });
      assert.equal(status, 0, stderr.toString());
    }
  });

  it('reports a busybox that does not run', async () => {
    await assert.rejects(listApplets(busybox, folder), { code: 'BUSYBOX_NOT_RUNNABLE' });
    const mute = new TextEncoder().encode('#!/bin/sh\necho bin/ls\n');
    await assert.rejects(listApplets(mute, folder), {
      code: 'BUSYBOX_NOT_RUNNABLE',
      message: /1 applets, status 0/,
    });
  });
});

describe('stage program', () => {
  it('is an executable that ends with 1 where the port is refused', () => {
    const path = join(folder, 'stage');
    writeFileSync(path, stageProgram());
    chmodSync(path, 0o755);
    // Nobody but root may ask for a port: user 65534 must be refused, whoever runs the test.
    const rights = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};
    chmodSync(folder, 0o755);
    assert.equal(spawnSync(path, [], rights).status, 1);
  });

  it('is no kernel', () => {
    assert.throws(() => planElf(new BytesSource(stageProgram())), { name: 'PandoError' });
  });
});

describe('initrd of a folder', () => {
  const root = join(folder, 'root');
  mkdirSync(join(root, 'bin'), { recursive: true });
  mkdirSync(join(root, 'empty'));
  writeFileSync(join(root, 'bin', 'tool'), 'run');
  chmodSync(join(root, 'bin', 'tool'), 0o4751);
  symlinkSync('bin/tool', join(root, 'init'));
  const output = join(folder, 'out.cpio');

  it('keeps modes and links, and gives everything to root', () => {
    const made = writeFolderInitrd(root, output);
    const bytes = readFileSync(output);
    assert.deepEqual(made, { path: output, size: bytes.length, entries: 4 });
    const found = entries(bytes);
    assert.deepEqual([...found.keys()], ['bin', 'bin/tool', 'empty', 'init']);
    assert.equal(found.get('bin/tool')!.mode, 0o104751);
    assert.equal(content(found.get('bin/tool')), 'run');
    assert.equal(content(found.get('init')), 'bin/tool');
    for (const { uid, gid, mtime } of found.values())
      assert.deepEqual([uid, gid, mtime], [0, 0, 0]);
    assert.deepEqual(inspectInitrdFile(output), {
      size: bytes.length,
      entries: 4,
      contentBytes: 'run'.length + 'bin/tool'.length,
    });
  });

  it('keeps device nodes', { skip: process.getuid?.() !== 0 && 'needs root for mknod' }, () => {
    const devices = join(folder, 'devices');
    mkdirSync(devices);
    const made = spawnSync('mknod', [join(devices, 'ttyS0'), 'c', '4', '64']);
    if (made.status !== 0) return;
    writeFolderInitrd(devices, output);
    const { mode, rdevMajor, rdevMinor } = entries(readFileSync(output)).get('ttyS0')!;
    assert.deepEqual([mode & 0o170000, rdevMajor, rdevMinor], [0o020000, 4, 64]);
  });

  it('leaves nothing when it fails', () => {
    assert.throws(() => writeFolderInitrd(join(folder, 'none'), join(folder, 'x')), {
      code: 'INITRD_NOT_MADE',
      message: /ENOENT/,
    });
    assert.throws(() => writeFolderInitrd(root, join(root, 'bin', 'x')), {
      code: 'INITRD_OUTPUT_INSIDE',
    });
    assert.throws(() => writeFolderInitrd(join(root, 'bin', 'tool'), join(folder, 'x')), {
      code: 'INITRD_NOT_MADE',
      message: /ENOTDIR/,
    });
    assert.throws(() => readFileSync(join(folder, 'x')), { code: 'ENOENT' });
  });
});
