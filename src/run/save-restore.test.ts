/** A machine saved while its timers run and its interrupts are under way goes on in another one. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { GuestCode } from '../accel/conformance/testing/guest.js';
import { ACCELERATORS, absence } from '../accel/conformance/testing/subject.js';
import { LOCAL_APIC_ADDRESS } from '../arch/layout.js';
import { NO_DEVICES } from './devices.js';
import type { MachineEvent } from './execution.js';
import { Guest } from './guest.js';
import { openImages } from './images.js';
import type { AcceleratorName } from './types.js';
import { WorkerPool } from './wasm/pool.js';

const MEMORY = 64 << 20;
const TICKS = 60;

/** Counts ticks of the interval timer and the local APIC's, and prints a number after each pair. */
function counting(): GuestCode {
  const code = new GuestCode().stack().interruptTable().gate(0x20, 'pit').gate(0x41, 'apic');
  code.pic(0xfffe).storeValue(LOCAL_APIC_ADDRESS + 0xf0, 0x1ff);
  code.out(0x43, 0x34).out(0x40, 0).out(0x40, 0x10);
  code.storeValue(LOCAL_APIC_ADDRESS + 0x3e0, 0xb);
  code.storeValue(LOCAL_APIC_ADDRESS + 0x320, 0x20041);
  code.storeValue(LOCAL_APIC_ADDRESS + 0x380, 1_000_000);
  // XMM7 and the x87 stack carry a value through, too.
  code.emit('0f20e0 0d00020000 0f22e0 dbe3 d9eb').mov('eax', 0x5eed).emit('660f6ef8');
  for (let tick = 1; tick <= TICKS; tick += 1) {
    code
      .sleepUntilCount(tick * 2)
      .mov('eax', tick)
      .call('hex');
  }
  code.emit('660f7ef8').show('xmm').emit('83ec0c db3c24 58').show('pi').emit('83c408').powerOff();
  code.countingHandler('pit', 'pic');
  return code.countingHandler('apic', 'apic');
}

class Run {
  readonly guest: Guest;
  text = '';
  readonly #waiting: ((event: MachineEvent) => void)[] = [];

  constructor(accelerator: AcceleratorName, kernel: string) {
    const images = openImages({ kernel, initrd: undefined, memory: MEMORY, immutable: false });
    const common = {
      accelerator,
      images,
      memory: MEMORY,
      cpus: 1,
      cpu: 'host',
      reboot: true,
      deduplicated: undefined,
      devices: NO_DEVICES,
    };
    this.guest = new Guest({ ...common, commandLine: '', load: 'map', tier: '0' }, (event) => {
      if (event.kind === 'console') this.drain();
      else if (event.kind !== 'stage') for (const hear of this.#waiting.splice(0)) hear(event);
    });
  }

  drain(): void {
    this.guest.control.takeConsoleNotice();
    this.text += Buffer.from(this.guest.execution.board.serialOutput.read()).toString('latin1');
    this.guest.execution.consoleMoved();
  }

  next(): Promise<MachineEvent> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}

for (const accelerator of ACCELERATORS) {
  describe(`save and restore on ${accelerator}`, { skip: absence(accelerator) }, () => {
    test('the second machine prints what the first one would have', async () => {
      const folder = mkdtempSync(join(tmpdir(), 'pando-save-'));
      const kernel = join(folder, 'guest.elf');
      writeFileSync(kernel, counting().image());
      if (accelerator === 'wasm') WorkerPool.shared().doWithoutWorkers();
      const numbers = Array.from({ length: TICKS }, (_, i) =>
        (i + 1).toString(16).padStart(8, '0'),
      );
      let run = new Run(accelerator, kernel);
      const texts: string[] = [];
      try {
        for (let leg = 0; ; leg += 1) {
          const ended = run.next();
          run.guest.execution.start();
          const stop = setTimeout(() => run.guest.execution.park(), 20 + 7 * leg);
          const event = await ended;
          clearTimeout(stop);
          if (event.kind === 'poweroff') break;
          assert.deepEqual(event, { kind: 'parked' });
          run.guest.control.stopTime();
          const state = structuredClone(run.guest.execution.save());
          const next = new Run(accelerator, kernel);
          next.guest.memory.bytes(0, MEMORY).set(run.guest.memory.bytes(0, MEMORY));
          next.guest.execution.restore(state);
          assert.deepEqual(next.guest.execution.vcpuState(0), run.guest.execution.vcpuState(0));
          assert.equal(next.guest.control.now(), run.guest.control.now());
          texts.push(run.text);
          await run.guest.release();
          run = next;
        }
        run.drain();
        texts.push(run.text);
        assert.ok(texts.length > 3, `${texts.length} machines`);
        assert.deepEqual(texts.join('').split('\n'), [
          ...numbers,
          'xmm=00005eed',
          'pi=2168c235',
          '',
        ]);
      } finally {
        await run.guest.release();
        rmSync(folder, { recursive: true });
      }
    });
  });
}
