import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { coreModule, installDecodeTables } from './core-module.js';
import { ForeignWrites } from './foreign-writes.js';
import * as L from './layout.js';
import { Library } from './translate/library.js';
import { LocalService } from './translate/service.js';
import { WasmVcpu } from './vcpu.js';

const RAM = 0x200000;
/** MOV EAX, 1; RET lies here, called by the loop. */
const ROUTINE = 0x3000;
const LOOP = 0x1000;
const FLAG = 0x5000;

const SMALL = { blocks: 48, operations: 400, heat: 0 };
const TIER = {
  threshold: 4,
  warm: 4,
  wideThreshold: 0,
  provided: Number.POSITIVE_INFINITY,
  limits: { ...SMALL, wide: { ...SMALL, target: 10 } },
  batch: 1,
  delay: 0,
};

/** A vCPU in 32-bit mode without paging whose loop calls a routine until FLAG is set. */
function setUp(translated: boolean) {
  const memory = new WebAssembly.Memory({
    initial: (L.GUEST_BASE + RAM) / 0x10000,
    maximum: 65536,
    shared: true,
  });
  installDecodeTables(memory);
  const view = new DataView(memory.buffer);
  const bytes = new Uint8Array(memory.buffer, L.GUEST_BASE);
  view.setUint32(L.VCPU_BLOCKS + L.ARENA_NEXT, L.BLOCK_ARENA, true);
  view.setUint32(L.VCPU_BLOCKS + L.RAM_PAGES, RAM / 4096, true);
  const bus = {
    portIn: () => 0,
    portOut: () => {},
    mmioRead: () => 0,
    mmioWrite: () => {},
    readMsr: () => undefined,
    writeMsr: () => false,
    readCr8: () => 0,
    writeCr8: () => {},
    pendingVector: () => -1,
    acknowledge: () => -1,
    pendingNmi: () => false,
    takeNmi: () => false,
  };
  const vcpu = new WasmVcpu({
    module: coreModule(),
    memory,
    id: 0,
    bus,
    clock: { now: () => 0 },
    ...(translated ? { library: new Library(new LocalService()), tier: TIER } : {}),
  });
  const segment = { selector: 8, base: 0, limit: 0xffffffff, type: 11, s: 1, dpl: 0 } as const;
  const rest = { present: 1, avl: 0, l: 0, db: 1, g: 1 } as const;
  const code = { ...segment, ...rest };
  const data = { ...code, type: 3, selector: 16 };
  vcpu.reset({
    eip: LOOP,
    ebx: 0,
    eflags: 2,
    cr0: 1,
    cr4: 0,
    efer: 0,
    cs: code,
    ds: data,
    es: data,
    ss: data,
    fs: data,
    gs: data,
    tr: { ...code, s: 0, selector: 0, l: 0, db: 0 },
    ldtr: { ...code, s: 0, type: 2, selector: 0, present: 0, l: 0, db: 0 },
    gdtr: { base: 0, limit: 0 },
    idtr: { base: 0, limit: 0 },
  });
  view.setBigUint64(L.VCPU_BLOCKS + L.GPR + L.RSP, 0x8000n, true);
  // loop: mov ebx, ROUTINE; call ebx; cmp dword [FLAG], 0; jz loop; call ebx; hlt
  bytes.set(
    [
      0xbb, 0x00, 0x30, 0, 0, 0xff, 0xd3, 0x83, 0x3d, 0x00, 0x50, 0, 0, 0, 0x74, 0xf0, 0xff, 0xd3,
      0xf4,
    ],
    LOOP,
  );
  bytes.set([0xb8, 1, 0, 0, 0, 0xc3], ROUTINE);
  return { memory, view, bytes, vcpu };
}

for (const translated of [false, true]) {
  const how = translated ? 'translated' : 'interpreted';
  const result = ({ view }: ReturnType<typeof setUp>): bigint =>
    view.getBigUint64(L.VCPU_BLOCKS + L.GPR + L.RAX, true);

  test(`code that a device overwrites is decoded anew, ${how}`, () => {
    const guest = setUp(translated);
    for (let i = 0; i < 20; i += 1) assert.equal(guest.vcpu.run(20_000), 'budget');
    assert.equal(result(guest), 1n);
    const foreign = new ForeignWrites(guest.memory.buffer as unknown as SharedArrayBuffer);
    guest.bytes.set([2], ROUTINE + 1);
    foreign.written(ROUTINE + 1, 1);
    guest.bytes.set([1], FLAG);
    foreign.written(FLAG, 4);
    assert.equal(guest.vcpu.run(20_000), 'halt');
    assert.equal(result(guest), 2n);
  });

  test(`from another thread, while the vCPU runs, ${how}`, async () => {
    const guest = setUp(translated);
    const worker = new Worker(
      `import { workerData } from 'node:worker_threads';
       const { ForeignWrites } = await import(workerData.module);
       const bytes = new Uint8Array(workerData.memory.buffer, ${L.GUEST_BASE});
       const foreign = new ForeignWrites(workerData.memory.buffer);
       const idle = new Int32Array(new SharedArrayBuffer(4));
       Atomics.wait(idle, 0, 0, 100);
       for (let value = 2; value <= 200; value += 1) {
         bytes[${ROUTINE + 1}] = value;
         foreign.written(${ROUTINE + 1}, 1);
       }
       Atomics.store(bytes, ${FLAG}, 1);`,
      {
        eval: true,
        execArgv: ['--input-type=module'],
        workerData: {
          memory: guest.memory,
          module: new URL('./foreign-writes.js', import.meta.url).href,
        },
      },
    );
    const ended = new Promise((resolve, reject) => {
      worker.once('exit', resolve);
      worker.once('error', reject);
    });
    // The event loop has no turn meanwhile: the thread is started by the first await.
    for (let turn = 0; ; turn += 1) {
      const stop = guest.vcpu.run(100_000);
      if (stop === 'halt') break;
      if (turn % 8 === 0) await new Promise(setImmediate);
    }
    await ended;
    assert.equal(result(guest), 200n);
  });
}
