/** Thread entry: runs a guest translated as far as LockstepThread asks. */
import { workerData } from 'node:worker_threads';
import { GUEST_BASE } from '../accel/wasm/layout.js';
import { LocalService } from '../accel/wasm/translate/service.js';
import { traceOf } from '../error.js';
import { GuestMemory } from '../memory/guest-memory.js';
import { LockstepGuest } from './lockstep-guest.js';
import {
  COMMAND_STOP,
  COMMAND_TURN,
  type LockstepStart,
  MAIL_ANSWER,
  MAIL_BYTES,
  MAIL_COMMAND,
  MAIL_ENDED,
  MAIL_ERROR,
  MAIL_FLAGS,
  MAIL_LIMIT,
  MAIL_REQUEST,
  MAIL_TEXT,
} from './lockstep-thread.js';
import { FaultyService } from './planted-fault.js';

const { mail, memory, module, tier, timing, planted } = workerData as LockstepStart;
const words = new Int32Array(mail);
const view = new DataView(mail);

function fail(error: unknown): void {
  const text = traceOf(error);
  const length = Buffer.from(mail, MAIL_TEXT, MAIL_BYTES - MAIL_TEXT).write(text);
  Atomics.store(words, MAIL_ERROR, length);
}

let guest: LockstepGuest | undefined;

function makeGuest(): LockstepGuest {
  const service = planted === undefined ? new LocalService() : new FaultyService(planted);
  const guestMemory = GuestMemory.attach(memory, GUEST_BASE);
  return new LockstepGuest(guestMemory, { module, service, tier }, timing);
}

function obey(command: number): void {
  guest ??= makeGuest();
  if (command === COMMAND_TURN) guest.beginTurn();
  guest.advance(view.getBigUint64(MAIL_LIMIT, true));
  words[MAIL_ENDED] = guest.ended ? 1 : 0;
  words[MAIL_FLAGS] = Number(guest.state.rflags);
}

for (let answered = 0; ; answered++) {
  while (Atomics.load(words, MAIL_REQUEST) === answered) {
    Atomics.wait(words, MAIL_REQUEST, answered);
  }
  const command = Atomics.load(words, MAIL_COMMAND);
  if (command === COMMAND_STOP) break;
  try {
    obey(command);
  } catch (error) {
    fail(error);
  }
  Atomics.store(words, MAIL_ANSWER, answered + 1);
  Atomics.notify(words, MAIL_ANSWER);
}
