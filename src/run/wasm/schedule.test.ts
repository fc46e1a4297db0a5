import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Driver } from './driver.js';
import { Schedule, SLOT_ASLEEP, SLOT_PARKED, SLOT_READY } from './schedule.js';

const NEVER = Number.POSITIVE_INFINITY;

test('a wake between a slice and its sleep is not lost', () => {
  const schedule = new Schedule();
  const slot = schedule.allocate();
  schedule.start(slot);
  assert.equal(schedule.claim(), slot);
  schedule.wake(slot);
  assert.equal(schedule.release(slot, SLOT_ASLEEP, NEVER), SLOT_READY);
  assert.equal(schedule.claim(), slot);
  assert.equal(schedule.release(slot, SLOT_ASLEEP, NEVER), SLOT_ASLEEP);
  assert.equal(schedule.claim(), -1);
  schedule.wake(slot);
  assert.equal(schedule.claim(), slot);
});

test('a parked slot is woken by nothing but its start', () => {
  const schedule = new Schedule();
  const slot = schedule.allocate();
  schedule.wake(slot);
  assert.equal(schedule.claim(), -1);
  schedule.start(slot);
  assert.equal(schedule.claim(), slot);
  schedule.release(slot, SLOT_PARKED, 0);
  schedule.wake(slot);
  assert.equal(schedule.claim(), -1);
});

test('what a thread holds is known until its owner has been told', () => {
  const own = new Schedule();
  const thread = own.allocateThread();
  const worker = new Schedule(thread, own.buffer);
  const [first, second] = [own.allocate(), own.allocate()];
  own.start(first);
  own.start(second);
  assert.equal(worker.claim(), first);
  assert.deepEqual(own.heldBy(thread), [first]);
  worker.release(first, SLOT_PARKED, 0);
  assert.deepEqual(own.heldBy(thread), [first]);
  worker.told(first);
  assert.deepEqual(own.heldBy(thread), []);
  assert.equal(worker.claim(), second);
  worker.release(second, SLOT_READY, 0);
  assert.deepEqual(own.heldBy(thread), []);
});

test("a thread counts from its start until it is to leave, and its number is another's after that", () => {
  const own = new Schedule();
  const thread = own.allocateThread();
  const worker = new Schedule(thread, own.buffer);
  assert.equal(own.workers(), 0);
  worker.workerStarted();
  assert.equal(own.workers(), 1);
  own.workerLeaves(thread);
  worker.workerStarted();
  assert.equal(own.workers(), 0);
  assert.notEqual(own.allocateThread(), thread);
  own.freeThread(thread);
  assert.equal(own.allocateThread(), thread);
});

test('a command that comes while a thread looks for work is not slept over', () => {
  const own = new Schedule();
  const sleeps: boolean[] = [];
  class Watched extends Schedule {
    override wait(sequence: number): void {
      sleeps.push(sequence === this.sequence());
      assert.ok(sleeps.length < 3);
    }
  }
  const schedule = new Watched(own.allocateThread(), own.buffer);
  const driver = new Driver(schedule, () => assert.fail('there is no VM'));
  let stop = false;
  driver.drive(() => {
    const goesOn = !stop;
    // Right behind the look.
    stop = true;
    if (goesOn) own.announce();
    return goesOn;
  });
  assert.deepEqual(sleeps, [false]);
});
