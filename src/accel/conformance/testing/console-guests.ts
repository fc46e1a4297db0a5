/** Guests that do nothing but print, or send back what they get. */
import { GuestCode, SERIAL } from './guest.js';

const CHUNK = 16;

/** Prints bytes that count up from 0, modulo 256, `chunks` times 16 of them, and switches itself off. */
export function counting(chunks: number): GuestCode {
  const code = new GuestCode()
    .stack()
    .out(SERIAL + 2, 0x01)
    .mov('ecx', chunks)
    .mov('ebx', 0);
  code.label('again').emit('66bafd03').label('wait').emit('ec a820').j('z', 'wait');
  code.emit('66baf803');
  // mov al, bl; out dx, al; inc bl
  for (let i = 0; i < CHUNK; i += 1) code.emit('88d8 ee fec3');
  return code.emit('ffc9').j('nz', 'again').powerOff();
}

/** Prints `ready`, and then each byte that it gets; at a zero it switches itself off. */
export function echoing(): GuestCode {
  const code = new GuestCode()
    .stack()
    .out(SERIAL + 4, 0x03)
    .print('ready\n');
  code.label('poll').emit('66bafd03 ec a801').j('z', 'poll').emit('66baf803 ec 3c00');
  return code.j('z', 'off').call('putc').jmp('poll').label('off').powerOff();
}

/** Takes no console input: prints `ready`, and goes on for ever. */
export function deaf(): GuestCode {
  return new GuestCode().stack().print('ready\n').label('spin').jmp('spin');
}
