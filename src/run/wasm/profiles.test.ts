/** The profile of a kernel is kept when its last VM has gone, whatever other VMs the process has. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { COUNT, GuestCode } from '../../accel/conformance/testing/guest.js';
import { Subject } from '../../accel/conformance/testing/subject.js';
import { readProfile } from '../../accel/wasm/translate/profile.js';
import { WorkerPool } from './pool.js';

const store = mkdtempSync(join(tmpdir(), 'pando-profiles-'));
after(() => rmSync(store, { recursive: true }));
process.env.PANDO_STORE = store;
const folder = join(store, 'profiles');

/** Prints a dot after each so many turns of a loop, without end. */
function busy(turns: number): GuestCode {
  const code = new GuestCode().stack().label('again').mov('ecx', turns).label('turn');
  return code.increment(COUNT).emit('ffc9').j('nz', 'turn').print('.').jmp('again');
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await condition()); tries += 1) {
    assert.ok(tries < 6000, 'it has not come in 60 s');
    await sleep(10);
  }
}

const profiles = (): string[] => {
  try {
    return readdirSync(folder).filter((name) => /^[0-9a-f]{64}$/.test(name));
  } catch {
    return [];
  }
};
const hashes = (name: string): string[] =>
  (readProfile(join(folder, name))?.kept ?? []).map(({ region }) => String(region.hash));
const translated = async (): Promise<number> =>
  (await WorkerPool.shared().translations())?.translated ?? 0;

/** Runs a kernel until something of it has been translated. */
async function heat(code: GuestCode): Promise<void> {
  const before = await translated();
  await using subject = await Subject.create('wasm', code);
  subject.vm.start();
  await until(async () => (await translated()) > before);
}

test('each kernel has a profile with what was made while it ran, and is forgotten then', async () => {
  // While there is a VM, threads stay.
  await using _ = await Subject.create('wasm', busy(7), { tier: '0' });
  await heat(busy(1_000_001));
  await until(() => profiles().length === 1);
  const [first = ''] = profiles();
  await heat(busy(1_000_002));
  await until(() => profiles().length === 2);
  const second = profiles().find((name) => name !== first) ?? '';
  const [one, two] = [hashes(first), hashes(second)];
  assert.ok(one.length > 0 && two.length > 0);
  assert.deepEqual(
    two.filter((hash) => one.includes(hash)),
    [],
  );
});
