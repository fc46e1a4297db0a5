import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseSmaps } from '../host/smaps.js';
import { mapCells, whereabouts } from './whereabouts.js';

const SMAPS = `00100000-00200000 r-xp 00000000 fe:00 1 /usr/bin/program
Private_Clean: 40 kB
00200000-00210000 rw-p 00000000 00:00 0 [heap]
Private_Dirty: 24 kB
00300000-00400000 rwxp 00000000 00:00 0
Private_Dirty: 12 kB
00500000-00600000 rw-p 00000000 fe:00 2 /images/kernel
Rss: 100 kB
Private_Clean: 60 kB
Private_Dirty: 8 kB
`;

test('private memory outside guests is divided by what is mapped', () => {
  const shape = {
    controlBytes: 0,
    ramBytes: 1 << 30,
    parts: [],
    control: [],
    images: ['/images/kernel'],
  };
  assert.deepEqual(whereabouts(process.pid, parseSmaps(SMAPS), shape), {
    kinds: {
      guest: 0,
      image: 68 * 1024,
      engine: 12 * 1024,
      code: 40 * 1024,
      heap: 24 * 1024,
    },
    guests: [],
  });
});

test('cells of a map hold shares', () => {
  const states = Uint8Array.from([2, 2, 1, 0, 1, 1]);
  assert.deepEqual(mapCells(states, 4), [
    { own: 0.5, shared: 0.25 },
    { own: 0, shared: 1 },
  ]);
});
