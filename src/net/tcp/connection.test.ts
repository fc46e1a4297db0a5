import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { ScriptedConnection } from '../testing/scripted-connection.js';
import type { TcpState } from './connection.js';
import { ACK, FIN, PSH, RST, SYN } from './segment.js';

/** A connection in a state, the peer's next byte, and the acknowledgement it owes. */
interface Start {
  readonly rig: ScriptedConnection;
  readonly seq: number;
  readonly ack: number;
}

const STARTS: Readonly<Record<string, () => Start>> = {
  SYN_RECEIVED: () => {
    const rig = new ScriptedConnection();
    rig.give(SYN, -1, -1);
    return { rig, seq: 0, ack: 0 };
  },
  ESTABLISHED: () => {
    const { rig } = STARTS.SYN_RECEIVED!();
    rig.give(ACK, 0, 0);
    return { rig, seq: 0, ack: 0 };
  },
  FIN_WAIT_1: () => {
    const { rig } = STARTS.ESTABLISHED!();
    rig.connection.end();
    return { rig, seq: 0, ack: 0 };
  },
  FIN_WAIT_2: () => {
    const { rig } = STARTS.FIN_WAIT_1!();
    rig.give(ACK, 0, 1);
    return { rig, seq: 0, ack: 1 };
  },
  CLOSING: () => {
    const { rig } = STARTS.FIN_WAIT_1!();
    rig.give(FIN | ACK, 0, 0);
    return { rig, seq: 1, ack: 0 };
  },
  CLOSE_WAIT: () => {
    const { rig } = STARTS.ESTABLISHED!();
    rig.give(FIN | ACK, 0, 0);
    return { rig, seq: 1, ack: 0 };
  },
  LAST_ACK: () => {
    const { rig } = STARTS.CLOSE_WAIT!();
    rig.connection.end();
    return { rig, seq: 1, ack: 0 };
  },
  TIME_WAIT: () => {
    const { rig } = STARTS.FIN_WAIT_2!();
    rig.give(FIN | ACK, 0, 1);
    return { rig, seq: 1, ack: 1 };
  },
};

/** Runs a check in every state. */
function inEveryState(name: string, check: (state: TcpState, start: Start) => void): void {
  for (const [state, make] of Object.entries(STARTS)) {
    test(`${name}: ${state}`, () => {
      const start = make();
      assert.equal(start.rig.connection.state, state);
      start.rig.take();
      check(state as TcpState, start);
      start.rig.connection.drop('aborted');
      assert.equal(start.rig.account.used, 0, 'all blocks are given back');
    });
  }
}

inEveryState('RST with the next sequence number ends it', (_state, { rig, seq }) => {
  rig.give(RST, seq, 0);
  assert.equal(rig.connection.state, 'CLOSED');
  assert.equal(rig.end, 'reset');
  assert.deepEqual(rig.take(), []);
});

inEveryState('RST elsewhere in the window is challenged', (state, { rig, seq }) => {
  rig.give(RST, seq + 1, 0);
  assert.equal(rig.connection.state, state);
  const [challenge, ...more] = rig.take();
  assert.equal(challenge?.flags, ACK);
  assert.equal(challenge?.ack, seq);
  assert.deepEqual(more, []);
});

inEveryState('RST outside of the window is dropped', (state, { rig, seq }) => {
  rig.give(RST, seq - 1, 0);
  rig.give(RST, seq + 200_000, 0);
  assert.equal(rig.connection.state, state);
  assert.deepEqual(rig.take(), []);
});

inEveryState('a SYN in the window is challenged, and nothing changes', (state, { rig, seq }) => {
  rig.give(SYN, seq + 10, 0);
  assert.equal(rig.connection.state, state);
  assert.equal(rig.take()[0]?.flags, ACK);
});

inEveryState('abort sends one RST and forgets', (_state, { rig, seq }) => {
  rig.connection.abort();
  const [reset, ...more] = rig.take();
  assert.equal(reset?.flags, RST | ACK);
  assert.equal(reset?.ack, seq);
  assert.deepEqual(more, []);
  assert.equal(rig.end, 'aborted');
});

/** Where a FIN leads from each state. */
const AFTER_FIN: Readonly<Record<string, TcpState>> = {
  SYN_RECEIVED: 'CLOSE_WAIT',
  ESTABLISHED: 'CLOSE_WAIT',
  FIN_WAIT_1: 'CLOSING',
  FIN_WAIT_2: 'TIME_WAIT',
  CLOSING: 'CLOSING',
  CLOSE_WAIT: 'CLOSE_WAIT',
  LAST_ACK: 'LAST_ACK',
  TIME_WAIT: 'TIME_WAIT',
};

inEveryState('FIN is acknowledged, once more too', (state, { rig, seq, ack }) => {
  const fresh = seq === 0;
  rig.give(FIN | ACK, 0, ack);
  assert.equal(rig.connection.state, AFTER_FIN[state]);
  assert.equal(rig.gotEnd, true);
  assert.equal(rig.take().at(-1)?.ack, 1);
  rig.give(FIN | ACK, 0, ack);
  assert.equal(rig.connection.state, AFTER_FIN[state]);
  assert.equal(rig.take().at(-1)?.ack, 1, fresh ? 'repeated' : 'known');
});

/** Where the acknowledgement of our FIN leads. */
const AFTER_ACK: Readonly<Record<string, TcpState>> = {
  FIN_WAIT_1: 'FIN_WAIT_2',
  CLOSING: 'TIME_WAIT',
  LAST_ACK: 'CLOSED',
};

for (const [state, after] of Object.entries(AFTER_ACK)) {
  test(`the acknowledgement of FIN leads from ${state} to ${after}`, () => {
    const { rig, seq } = STARTS[state]!();
    rig.give(ACK, seq, 1);
    assert.equal(rig.connection.state, after);
    if (after === 'CLOSED') assert.equal(rig.end, 'done');
  });
}

test('FIN and its acknowledgement in one segment end FIN_WAIT_1 at once', () => {
  const { rig } = STARTS.FIN_WAIT_1!();
  rig.give(FIN | ACK, 0, 1);
  assert.equal(rig.connection.state, 'TIME_WAIT');
});

test('TIME_WAIT ends by itself, and yields to a newer SYN', async () => {
  const { rig } = STARTS.TIME_WAIT!();
  rig.time = 5000;
  for (let i = 0; i < 100 && rig.end === undefined; i += 1) await delay(50);
  assert.equal(rig.end, 'done');
});

test('bytes out of order, twice and overlapping are delivered once, in order', () => {
  const { rig } = STARTS.ESTABLISHED!();
  rig.take();
  rig.give(ACK, 6, 0, 'world');
  rig.give(ACK, 20, 0, '!!');
  rig.give(ACK, 3, 0, 'lo wo');
  assert.equal(rig.text, '');
  assert.deepEqual(
    rig.take().map(({ flags, ack }) => [flags, ack]),
    [
      [ACK, 0],
      [ACK, 0],
      [ACK, 0],
    ],
  );
  rig.give(ACK, 0, 0, 'hello');
  assert.equal(rig.text, 'hello world');
  rig.give(ACK, 0, 0, 'hello world again');
  assert.equal(rig.text, 'hello world again');
  rig.give(FIN | ACK, 22, 0);
  assert.equal(rig.gotEnd, false);
  rig.give(ACK, 17, 0, '...');
  assert.equal(rig.text, 'hello world again...!!');
  assert.equal(rig.gotEnd, true);
  assert.equal(rig.take().at(-1)?.ack, 23);
});

test('bytes beyond the window are not taken, and the window is never taken back', () => {
  const { rig } = STARTS.ESTABLISHED!();
  rig.room = 0;
  const granted = 50_000 - (50_000 % 64) + 64;
  rig.give(ACK, 0, 0, 'x'.repeat(granted + 100));
  assert.ok(rig.text.length <= granted && rig.text.length >= 49_900, String(rig.text.length));
  assert.equal(rig.take().at(-1)?.window, 0);
  rig.give(ACK, rig.text.length, 0, 'more');
  assert.equal(rig.take().at(-1)?.ack, rig.text.length);
  rig.room = 30_000;
  rig.connection.windowMoved();
  const [update] = rig.take();
  assert.equal(update?.window, 30_000 >>> 6);
  rig.give(ACK, rig.text.length, 0, 'more');
  assert.match(rig.text, /more$/);
});

test('a zero window is probed until it opens', async () => {
  const { rig } = STARTS.ESTABLISHED!();
  rig.give(ACK, 0, 0, '', 0);
  rig.take();
  rig.write('waiting');
  assert.deepEqual(rig.take(), []);
  for (let i = 0; i < 100 && rig.sent.length === 0; i += 1) await delay(50);
  const [probe] = rig.take();
  assert.equal(probe?.seq, -1, 'a number that the peer has acknowledged already');
  assert.equal(probe?.flags, ACK);
  rig.give(ACK, 0, 0, '', 0);
  assert.deepEqual(rig.take(), []);
  rig.give(ACK, 0, 0, '', 100);
  assert.equal(rig.take()[0]?.text, 'waiting');
});

test('segments fit the window and the MSS; FIN follows the last byte', () => {
  const { rig } = STARTS.ESTABLISHED!();
  rig.give(ACK, 0, 0, '', 2500);
  rig.take();
  rig.write('a'.repeat(3000));
  rig.connection.end();
  assert.deepEqual(
    rig.take().map(({ seq, text }) => [seq, text.length]),
    [
      [0, 1000],
      [1000, 1000],
    ],
  );
  rig.give(ACK, 0, 1000, '', 2500);
  assert.deepEqual(
    rig.take().map(({ seq, text, flags }) => [seq, text.length, flags]),
    [
      [2000, 1000, ACK | PSH],
      [3000, 0, ACK | FIN],
    ],
  );
  rig.give(ACK, 0, 3001);
  assert.equal(rig.connection.state, 'FIN_WAIT_2');
  assert.equal(rig.account.used, 0);
});

test('what was lost is sent again: after duplicate acknowledgements, and after the time-out', async () => {
  const { rig } = STARTS.ESTABLISHED!();
  rig.take();
  for (const letter of 'abcde') rig.write(letter.repeat(1000));
  assert.equal(rig.take().length, 5);
  for (let i = 0; i < 3; i += 1) rig.give(ACK, 0, 0);
  assert.deepEqual(
    rig.take().map(({ text }) => text[0]),
    ['a'],
  );
  // Two were lost: the partial acknowledgement asks for the second (RFC 6582).
  rig.give(ACK, 0, 2000);
  assert.deepEqual(
    rig.take().map(({ text }) => text[0]),
    ['c'],
  );
  rig.give(ACK, 0, 4000);
  assert.deepEqual(
    rig.take().map(({ text }) => text[0]),
    ['e'],
  );
  for (let i = 0; i < 100 && rig.sent.length === 0; i += 1) await delay(50);
  assert.equal(rig.take()[0]?.text[0], 'e');
  rig.give(ACK, 0, 5000);
  assert.equal(rig.account.used, 0);
});

test('a full path loses nothing: what waits goes out when it has room', () => {
  const { rig } = STARTS.ESTABLISHED!();
  rig.take();
  rig.open = false;
  rig.write('a'.repeat(1500));
  rig.give(ACK, 0, 0, 'question');
  rig.connection.end();
  assert.deepEqual(rig.take(), []);
  rig.openPath();
  const sent = rig.take();
  assert.deepEqual(
    sent.map(({ text, flags }) => [text.length, flags]),
    [
      [1000, ACK],
      [500, ACK | PSH],
      [0, ACK | FIN],
    ],
  );
  assert.equal(sent[0]?.ack, 8);
});

test('a full path holds a SYN and a reset back, and loses neither', () => {
  const opening = new ScriptedConnection();
  opening.open = false;
  opening.connection.connect();
  assert.deepEqual(opening.take(), []);
  opening.openPath();
  assert.deepEqual(
    opening.take().map(({ flags }) => flags),
    [SYN],
  );
  const { rig } = STARTS.ESTABLISHED!();
  rig.take();
  rig.open = false;
  rig.connection.abort();
  assert.equal(rig.end, 'aborted');
  assert.deepEqual(rig.take(), []);
  rig.openPath();
  assert.deepEqual(
    rig.take().map(({ flags }) => flags),
    [RST | ACK],
  );
  rig.openPath();
  assert.deepEqual(rig.take(), []);
});

test('a SYN that comes again is answered again', () => {
  const { rig } = STARTS.SYN_RECEIVED!();
  assert.equal(rig.take()[0]?.flags, SYN | ACK);
  rig.give(SYN, -1, -1);
  assert.equal(rig.take()[0]?.flags, SYN | ACK);
  rig.give(ACK, 0, 0);
  assert.equal(rig.connection.state, 'ESTABLISHED');
});

test('acknowledgements of what was never sent are answered: with RST before, with ACK after', () => {
  const early = STARTS.SYN_RECEIVED!().rig;
  early.take();
  early.give(ACK, 0, 77);
  assert.deepEqual(
    early.take().map(({ flags, seq }) => [flags, seq]),
    [[RST, 77]],
  );
  const { rig } = STARTS.ESTABLISHED!();
  rig.take();
  rig.give(ACK, 0, 77, 'not taken');
  assert.equal(rig.take()[0]?.flags, ACK);
  assert.equal(rig.text, '');
});

test('a connection towards the guest: answered, refused, both at once', () => {
  const rig = new ScriptedConnection();
  rig.connection.connect();
  assert.equal(rig.take()[0]?.flags, SYN);
  rig.give(SYN | ACK, -1, 0);
  assert.equal(rig.connection.state, 'ESTABLISHED');
  assert.deepEqual(
    rig.take().map(({ flags, seq, ack }) => [flags, seq, ack]),
    [[ACK, 0, 0]],
  );
  const refused = new ScriptedConnection();
  refused.connection.connect();
  refused.give(RST | ACK, 0, 0);
  assert.equal(refused.end, 'refused');
  const crossing = new ScriptedConnection();
  crossing.connection.connect();
  crossing.take();
  crossing.give(SYN, -1, -1);
  assert.equal(crossing.connection.state, 'SYN_RECEIVED');
  assert.equal(crossing.take()[0]?.flags, SYN | ACK);
  crossing.give(ACK, 0, 0);
  assert.equal(crossing.connection.state, 'ESTABLISHED');
});

test('bytes of less than two segments are acknowledged with the answer, or a little later', async () => {
  const { rig } = STARTS.ESTABLISHED!();
  rig.take();
  rig.give(PSH | ACK, 0, 0, 'question');
  assert.deepEqual(rig.take(), [], 'the acknowledgement waits for what goes with it');
  rig.write('answer');
  assert.deepEqual(
    rig.take().map(({ ack, text }) => [ack, text]),
    [[8, 'answer']],
  );
  rig.give(PSH | ACK, 8, 6, 'more');
  for (
    const from = performance.now();
    rig.sent.length === 0 && performance.now() - from < 30_000;
  ) {
    await delay(1);
  }
  assert.deepEqual(
    rig.take().map(({ ack, text }) => [ack, text]),
    [[12, '']],
  );
  rig.give(ACK, 12, 6, 'x'.repeat(1000));
  rig.give(ACK, 1012, 6, 'x'.repeat(1000));
  assert.equal(rig.take().at(-1)?.ack, 2012, 'two segments wait for nothing');
  rig.give(PSH | ACK, 2012, 6, 'late');
  rig.connection.drop('aborted');
});
