/**
 * What comes at an instruction boundary, and in which order (Intel SDM vol. 3, table 6-2 "Priority among simultaneous
 * exceptions and interrupts", 6.8.3 "Masking exceptions and interrupts when switching stacks", 17.3): every combination
 * of a shadow, a debug trap, an interrupt, and the instruction behind, halts and repeated strings included.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { coreModule } from './core-module.js';
import * as L from './layout.js';
import { CODE, code, DATA, Guest, HANDLERS, KERNEL_DS, le, PT } from './testing/guest.js';
import { Library } from './translate/library.js';
import { LocalService } from './translate/service.js';
import { FORCED_TIER } from './translate/tier.js';
import { WasmVcpu } from './vcpu.js';

const DB = 1;
const NMI = 2;
const BP = 3;
const UD = 6;
const SOFTWARE = 0x41;
const END = 0x42;
const IRQ = 0x50;

const IF = 0x200;
const TF = 0x100;
/** Causes in DR6. */
const B0 = 1;
const B1 = 2;
const BS = 0x4000;
const DR6_QUIET = 0xffff0ff0;

const DEVICE = 0x1ff000;
/** Where the handlers write, three words an event, and where they keep the next place. */
const LOG = DATA;
const LOG_END = DATA + 0x4000;
const COMMON = HANDLERS + 0x5000;

/** The first instruction: its interrupts and breakpoints arise while it runs. */
const FIRST = {
  // mov es,[DEVICE]; sti; mov ss,[DEVICE]
  none: code('8e 04 25', le(DEVICE, 4)),
  sti: code('fb'),
  movSs: code('8e 14 25', le(DEVICE, 4)),
};
type First = keyof typeof FIRST;

/** The second. A breakpoint of NOP is one of DR1 on its address. */
const SECOND = {
  nop: code('90'),
  breakpoint: code('90'),
  int1: code('f1'),
  int3: code('cc'),
  intN: code('cd', [SOFTWARE]),
  fault: code('0f 0b'),
  hlt: code('f4'),
  // rep stosb, with ECX 2
  repeated: code('f3 aa'),
};
type Second = keyof typeof SECOND;

interface Combination {
  readonly first: First;
  readonly second: Second;
  readonly step: boolean;
  /** A data breakpoint on what the first one reads. */
  readonly data: boolean;
  readonly nmi: boolean;
  readonly irq: boolean;
}

/** Vector, RIP in the frame, and for #DB the causes; or that the processor halted. */
type Event = string;

const handler = (vector: number): number => HANDLERS + vector * 16;

/** What the manual says. */
function expected({ first, second, step, data, ...waiting }: Combination): Event[] {
  const events: Event[] = [];
  let { nmi, irq } = waiting;
  const at = CODE + FIRST[first].length;
  const after = at + SECOND[second].length;
  /** Delivers; an NMI that waits comes at the handler's first instruction, before it has written its event. */
  const deliver = (vector: number, rip: number, causes = 0): void => {
    if (nmi) {
      nmi = false;
      deliver(NMI, handler(vector));
    }
    const detail = vector === DB ? ` causes ${causes.toString(16)}` : '';
    events.push(`${vector} at ${rip.toString(16)}${detail}`);
  };
  /** Debug traps, then NMI, then the interrupt: gates have cleared IF in handlers. */
  const boundary = (rip: number, causes: number, interrupts = true): void => {
    if (causes !== 0) deliver(DB, rip, causes);
    if (nmi) {
      nmi = false;
      deliver(NMI, rip);
    }
    if (irq && (interrupts || causes !== 0)) {
      irq = false;
      deliver(IRQ, rip);
    }
  };
  const stepped = step ? BS : 0;
  let held = data ? B0 : 0;
  if (first !== 'movSs') {
    // STI holds interrupts back, but no traps; a handler's IRET ends the shadow.
    boundary(at, stepped | held, first !== 'sti');
    held = 0;
    if (second === 'breakpoint') {
      deliver(DB, at, B1);
      boundary(at, 0);
    }
  }
  switch (second) {
    case 'nop':
    case 'breakpoint':
      boundary(after, stepped | held);
      break;
    case 'int1':
      // One #DB for both causes. TF is clear in the handler, so it is not stepped.
      deliver(DB, after, held);
      boundary(after, 0);
      break;
    case 'int3':
    case 'intN': {
      // What MOV SS has held comes at the first instruction of the handler.
      const vector = second === 'int3' ? BP : SOFTWARE;
      if (held !== 0) deliver(DB, handler(vector), held);
      deliver(vector, after);
      boundary(after, 0);
      break;
    }
    case 'fault':
      // What is of lower priority is discarded. The handler goes on behind.
      deliver(UD, at);
      boundary(after, 0);
      break;
    case 'hlt': {
      const wakes = (stepped | held) !== 0 || nmi || irq;
      boundary(after, stepped | held);
      if (!wakes) {
        events.push('halts');
        irq = true;
        boundary(after, 0);
      }
      break;
    }
    case 'repeated':
      boundary(at, stepped | held);
      boundary(after, stepped);
      break;
  }
  // The NOP behind.
  boundary(after + 1, stepped);
  return events;
}

/** Common end of all handlers: writes the event; #DB clears DR6, and goes on with RF at an instruction breakpoint; #UD goes on behind. */
const HANDLER = code(
  // push rax; push rcx; mov rcx,[LOG_END]; the vector, RIP and DR6 to [rcx]; add rcx,24; mov [LOG_END],rcx
  '50 51 48 8b 0c 25',
  le(LOG_END, 4),
  '48 8b 44 24 10 48 89 01 48 8b 44 24 18 48 89 41 08 0f 21 f0 48 89 41 10 48 83 c1 18 48 89 0c 25',
  le(LOG_END, 4),
  // cmp byte [rsp+16],1; jnz +20; test al,2; jz +8; or dword [rsp+40],RF
  '80 7c 24 10 01 75 14 a8 02 74 08 81 4c 24 28 00 00 01 00',
  // mov eax,DR6_QUIET; mov dr6,rax
  'b8',
  le(DR6_QUIET, 4),
  '0f 23 f0',
  // cmp byte [rsp+16],6; jnz +5; add dword [rsp+24],2
  '80 7c 24 10 06 75 05 83 44 24 18 02',
  // pop rcx; pop rax; add rsp,8; iretq
  '59 58 48 83 c4 08 48 cf',
);

function run({ first, second, step, data, nmi, irq }: Combination): Event[] {
  const waiting = { nmi: false, irq: first === 'sti' && irq };
  const guest = new Guest('long');
  for (const vector of [DB, NMI, BP, UD, SOFTWARE, IRQ]) {
    const jump = COMMON - (handler(vector) + 7);
    guest.put(handler(vector), code('6a', [vector], 'e9', le(jump, 4)));
  }
  guest.put(COMMON, HANDLER);
  guest.put(LOG_END, le(LOG, 8));
  guest.put(PT + (DEVICE >> 12) * 8, le(0xfed00007, 8));
  guest.put(CODE, code(FIRST[first], SECOND[second], '90 cd', [END]));
  guest.set64(L.RIP, BigInt(CODE));
  guest.set64(L.RCX, 2n);
  guest.set64(L.RDI, BigInt(DATA + 0x5000));
  // Breakpoints: DR0 on data, two bytes, read or written; DR1 on the second instruction.
  guest.set64(L.DR0, BigInt(DEVICE));
  guest.set64(L.DR0 + 8, BigInt(CODE + FIRST[first].length));
  const breakpoint = second === 'breakpoint' ? 4 : 0;
  guest.set64(L.DR7, BigInt(0x400 | (data ? 0x70001 : 0) | breakpoint));
  guest.set32(L.FLAGS, (first === 'sti' ? 0 : IF) | (step ? TF : 0) | 2);
  guest.core.updateMode(guest.cpu);
  const arise = (): void => {
    waiting.nmi = nmi;
    waiting.irq = irq;
    vcpu.interruptsChanged();
  };
  const vcpu: WasmVcpu = new WasmVcpu({
    module: coreModule(),
    memory: guest.memory,
    id: 0,
    clock: { now: () => 0 },
    bus: {
      portIn: () => 0,
      portOut: () => {},
      mmioRead: () => {
        arise();
        return KERNEL_DS;
      },
      mmioWrite: () => {},
      readMsr: () => undefined,
      writeMsr: () => false,
      readCr8: () => 0,
      writeCr8: () => {},
      pendingNmi: () => waiting.nmi,
      takeNmi: () => {
        waiting.nmi = false;
        return true;
      },
      pendingVector: () => (waiting.irq ? IRQ : -1),
      acknowledge: () => {
        waiting.irq = false;
        return IRQ;
      },
    },
    ...(process.env.PANDO_TEST_TIER === '1'
      ? { library: new Library(new LocalService()), tier: FORCED_TIER }
      : {}),
  });
  let halted = -1;
  for (let runs = 0; runs < 1000; runs++) {
    const stop = vcpu.run(1000);
    if (stop === 'budget') continue;
    assert.equal(stop, 'halt');
    if (guest.handler() === END) break;
    halted = Number(guest.peek(LOG_END, 4) - BigInt(LOG)) / 24;
    waiting.irq = true;
  }
  assert.equal(guest.handler(), END);
  const count = Number(guest.peek(LOG_END, 4) - BigInt(LOG)) / 24;
  const events: Event[] = [];
  for (let index = 0; index < count; index++) {
    if (index === halted) events.push('halts');
    const word = (at: number): number => Number(guest.peek(LOG + index * 24 + at * 8, 4));
    const causes = word(0) === DB ? ` causes ${(word(2) & 0xe00f).toString(16)}` : '';
    events.push(`${word(0)} at ${word(1).toString(16)}${causes}`);
  }
  return events;
}

const BOTH = [false, true];

for (const first of Object.keys(FIRST) as First[]) {
  describe(`behind ${first === 'none' ? 'no shadow' : first}`, () => {
    for (const second of Object.keys(SECOND) as Second[]) {
      test(second, () => {
        for (const step of BOTH)
          for (const data of first === 'sti' ? [false] : BOTH)
            for (const nmi of first === 'sti' ? [false] : BOTH)
              for (const irq of BOTH) {
                const combination = { first, second, step, data, nmi, irq };
                const name = JSON.stringify(combination);
                assert.deepEqual(run(combination), expected(combination), name);
              }
      });
    }
  });
}
