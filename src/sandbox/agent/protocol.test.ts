import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { PandoError } from '../../error.js';
import { decodeEntry } from './entry.js';
import {
  AGENT_PORT,
  EXEC,
  EXIT,
  encodeFrame,
  encodeRequest,
  FIELD,
  FILE,
  FRAME_HEADER,
  FRAME_PAYLOAD_MAX,
  FrameReader,
  INPUT,
  OUTPUT_CREDIT,
  PROTOCOL_VERSION,
  REPLY,
  REQUEST,
  STDIN_CREDIT,
  u32,
} from './protocol.js';

const HEADER = new URL('../../../agent/protocol.h', import.meta.url);

test('agent and host have the same numbers', () => {
  const text = readFileSync(HEADER, 'utf8');
  const defined = new Map(
    [...text.matchAll(/^#define (\w+) (\w+)$/gm)].map(([, name, value]) => [name, Number(value)]),
  );
  const groups = { REQUEST, INPUT, REPLY, FIELD, EXEC, FILE, EXIT };
  const ours = new Map<string, number>([
    ['PROTOCOL_VERSION', PROTOCOL_VERSION],
    ['AGENT_PORT', AGENT_PORT],
    ['FRAME_HEADER', FRAME_HEADER],
    ['FRAME_PAYLOAD_MAX', FRAME_PAYLOAD_MAX],
    ['FIELD_HEADER', 8],
    ['STDIN_CREDIT', STDIN_CREDIT],
    ['OUTPUT_CREDIT', OUTPUT_CREDIT],
  ]);
  for (const [group, members] of Object.entries(groups))
    for (const [name, value] of Object.entries(members)) ours.set(`${group}_${name}`, value);
  const sorted = (map: Map<string | undefined, number>) => [...map].sort();
  assert.deepEqual(sorted(defined), sorted(ours));
});

test('frames come whole, however their bytes are cut', () => {
  const frames = fc.array(
    fc.record({
      type: fc.integer({ min: 0, max: 255 }),
      payload: fc.uint8Array({ maxLength: 200 }),
    }),
    { maxLength: 20 },
  );
  fc.assert(
    fc.property(frames, fc.array(fc.nat(50)), (sent, cuts) => {
      const bytes = Buffer.concat(sent.map(({ type, payload }) => encodeFrame(type, payload)));
      const reader = new FrameReader();
      const got: { type: number; payload: Uint8Array }[] = [];
      const take = (): void => {
        for (let frame = reader.next(); frame !== undefined; frame = reader.next())
          got.push({ type: frame.type, payload: Uint8Array.from(frame.payload) });
      };
      let at = 0;
      for (const cut of cuts) {
        reader.push(bytes.subarray(at, at + cut));
        at = Math.min(bytes.length, at + cut);
        take();
      }
      reader.push(bytes.subarray(at));
      take();
      assert.deepEqual(
        got,
        sent.map(({ type, payload }) => ({ type, payload: Uint8Array.from(payload) })),
      );
    }),
  );
});

test('an agent that lies makes one coded error', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const reader = new FrameReader();
      try {
        reader.push(Buffer.from(bytes));
        for (let frame = reader.next(); frame !== undefined; frame = reader.next())
          if (frame.type === REPLY.ENTRY) decodeEntry(frame.payload);
        decodeEntry(Buffer.from(bytes));
      } catch (error) {
        assert.ok(error instanceof PandoError && error.code === 'AGENT_PROTOCOL', String(error));
      }
    }),
    { numRuns: 10_000 },
  );
});

test('what does not fit a request is refused', () => {
  const refused = (code: string) => (error: unknown) =>
    error instanceof PandoError && error.code === code;
  assert.throws(
    () => encodeRequest(REQUEST.EXEC, [[FIELD.ARGUMENT, 'a\0b']]),
    refused('AGENT_TEXT_INVALID'),
  );
  const long = 'x'.repeat(FRAME_PAYLOAD_MAX);
  assert.throws(
    () => encodeRequest(REQUEST.EXEC, [[FIELD.ARGUMENT, long]]),
    refused('AGENT_FRAME_TOO_LONG'),
  );
  assert.equal(encodeRequest(REQUEST.STAT, [[FIELD.MODE, u32(7)]]).length, FRAME_HEADER + 2 * 12);
});
