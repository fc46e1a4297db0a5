import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Ending } from './execution.js';
import { type FinalCause, Lifecycle } from './lifecycle.js';

/** A machine that does nothing by itself, and what it was asked for. */
function subject(fail: { start?: boolean; restart?: boolean; reboots?: boolean } = {}) {
  const calls: string[] = [];
  const ended: FinalCause[] = [];
  let epoch = 0;
  const actions = {
    start: () => {
      if (fail.start) throw new Error('no start');
      calls.push('start');
      epoch += 1;
      return epoch;
    },
    park: () => void calls.push('park'),
    rest: () => void calls.push('rest'),
    restart: () => {
      if (fail.restart) throw new Error('no restart');
      calls.push('restart');
    },
    ended: (cause: FinalCause) => void ended.push(cause),
  };
  const life = new Lifecycle(actions, fail.reboots);
  return { life, calls, ended, hear: (ending: Ending, of = epoch) => life.hear(ending, of) };
}

const PARKED: Ending = { kind: 'parked' };
const RESET: Ending = { kind: 'reset' };
const POWEROFF: Ending = { kind: 'poweroff' };
const FAILURE: Ending = { kind: 'error', code: 'X', message: 'x' };

/** Whether a promise has resolved by now. */
async function resolved(promise: Promise<unknown>): Promise<boolean> {
  let done = false;
  void promise.then(() => {
    done = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  return done;
}

describe('the life of a VM', () => {
  test('a pause, and a second one, end when the machine has said that it is parked', async () => {
    const { life, calls, hear } = subject();
    life.want('run');
    life.want('stand');
    const first = life.stood();
    life.want('stand');
    const second = life.stood();
    assert.equal(await resolved(Promise.race([first, second])), false);
    hear(PARKED);
    await Promise.all([first, second]);
    assert.deepEqual(calls, ['start', 'park', 'rest']);
    assert.equal(life.state, 'standing');
  });

  test('a start while it is parking begins the next run', async () => {
    const { life, calls, hear } = subject();
    life.want('run');
    life.want('stand');
    const paused = life.stood();
    life.want('run');
    hear(PARKED);
    await paused;
    assert.deepEqual(calls, ['start', 'park', 'start']);
    assert.equal(life.state, 'running');
  });

  test('holds end one by one, and the VM goes on after the last', async () => {
    const { life, calls, hear } = subject();
    life.want('run');
    const holds = [life.hold(), life.hold()];
    hear(PARKED);
    const [first, second] = await Promise.all(holds);
    first?.();
    first?.();
    assert.equal(life.state, 'standing');
    second?.();
    assert.equal(life.state, 'running');
    assert.deepEqual(calls, ['start', 'park', 'start']);
  });

  test('what came before the park is what is heard, and a hold keeps it there', async () => {
    const { life, calls, hear } = subject();
    life.want('run');
    const hold = life.hold();
    hear(RESET);
    const release = await hold;
    assert.deepEqual(calls, ['start', 'park', 'restart']);
    assert.equal(life.state, 'standing');
    release();
    assert.equal(life.state, 'running');
    const late = life.hold();
    hear(POWEROFF);
    (await late)();
    assert.equal(life.state, 'ended');
  });

  test('a reset is the end of one that does not boot again, in a run and while it is parking', async () => {
    const running = subject({ reboots: false });
    running.life.want('run');
    running.hear(RESET);
    assert.deepEqual(running.ended, [{ kind: 'reboot' }]);
    assert.deepEqual(running.calls, ['start']);
    running.life.want('run');
    assert.equal(running.life.state, 'ended');

    const parking = subject({ reboots: false });
    parking.life.want('run');
    const stopped = parking.life.stood();
    parking.life.end({ kind: 'stopped' });
    parking.hear(RESET);
    await stopped;
    assert.deepEqual(parking.ended, [{ kind: 'reboot' }], 'it ended by itself before');
    assert.deepEqual(parking.calls, ['start', 'park']);
  });

  test('a cause of another run, or of none, changes nothing', () => {
    const { life, ended, hear } = subject();
    hear(POWEROFF, 0);
    life.want('run');
    life.want('stand');
    hear(PARKED);
    hear(POWEROFF);
    life.want('run');
    hear(POWEROFF, 1);
    assert.equal(life.state, 'running');
    assert.deepEqual(ended, []);
    hear(POWEROFF, 2);
    hear(FAILURE, 2);
    assert.deepEqual(ended, [POWEROFF]);
  });

  test('a failure between runs ends it', () => {
    const { life, calls, ended } = subject();
    life.hear(FAILURE);
    life.want('run');
    assert.deepEqual(ended, [FAILURE]);
    assert.deepEqual(calls, []);
  });

  test('an end that is wanted stays wanted', async () => {
    const { life, calls, ended, hear } = subject();
    life.want('run');
    life.end({ kind: 'stopped' });
    const stopped = life.stood();
    life.want('run');
    hear(RESET);
    await stopped;
    assert.deepEqual(calls, ['start', 'park']);
    assert.deepEqual(ended, [{ kind: 'stopped' }]);
    life.closed();
    assert.equal(life.state, 'closed');
    life.want('run');
    assert.equal(life.state, 'closed');
  });

  test('a start and a restart that fail are its end', async () => {
    const first = subject({ start: true });
    first.life.want('run');
    assert.equal(first.ended[0]?.kind, 'error');
    const second = subject({ restart: true });
    second.life.want('run');
    const hold = second.life.hold();
    second.hear(RESET);
    (await hold)();
    assert.equal(second.ended.length, 1);
    assert.equal(second.life.state, 'ended');
  });
});
