/** The gdb client against a server of a few lines. */
import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { describe, it } from 'node:test';
import { GdbClient, packet } from './gdb-client.js';

/** A server whose answers are given by the packets' texts; what it was sent is in `seen`. */
class FakeServer extends Duplex {
  readonly seen: string[] = [];

  constructor(private readonly answers: Readonly<Record<string, string>>) {
    super();
  }

  override _read(): void {}

  override _write(bytes: Buffer, _encoding: string, done: () => void): void {
    const text = bytes.toString('latin1');
    this.seen.push(text);
    const command = /^\$([\s\S]*)#..$/.exec(text)?.[1];
    const answer = this.answers[command ?? ''];
    if (answer !== undefined) this.push(answer);
    done();
  }
}

describe('gdb client', () => {
  it('frames commands with their checksum and acknowledges answers', async () => {
    const server = new FakeServer({ g: `+${packet('efcdab89')}` });
    const client = new GdbClient(server);
    assert.deepEqual(await client.registers(), Buffer.from('efcdab89', 'hex'));
    assert.deepEqual(server.seen, ['$g#67', '+']);
  });

  it('reads memory, and puts packets together that come in pieces', async () => {
    const server = new FakeServer({});
    const client = new GdbClient(server);
    const answer = client.memory(0xffff_ffff_8100_0000n, 4);
    const whole = packet('90f4eb00');
    for (const piece of [whole.slice(0, 3), whole.slice(3, 9), whole.slice(9)]) server.push(piece);
    assert.deepEqual(await answer, Buffer.from('90f4eb00', 'hex'));
    assert.equal(server.seen[0], packet('mffffffff81000000,4'));
  });

  it('tells what a server refuses', async () => {
    const client = new GdbClient(new FakeServer({ 'm0,8': packet('E14'), 'vCont;s': packet('') }));
    await assert.rejects(client.memory(0n, 8), { code: 'GDB_REFUSED', message: /E14/ });
    await assert.rejects(client.step(), { code: 'GDB_REFUSED', message: /nothing/ });
  });

  it('steps, and runs to an address with a breakpoint that it takes away again', async () => {
    const server = new FakeServer({
      'vCont;s': packet('T05thread:01;'),
      'vCont;c': packet('S05'),
      'Z1,1000,1': packet('OK'),
      'z1,1000,1': packet('OK'),
    });
    const client = new GdbClient(server);
    await client.step();
    await client.runTo(0x1000n);
    const commands = server.seen.filter((text) => text !== '+');
    assert.deepEqual(commands, ['vCont;s', 'Z1,1000,1', 'vCont;c', 'z1,1000,1'].map(packet));
  });

  it('asks again for a packet with a wrong checksum', async () => {
    const server = new FakeServer({ 'm0,2': '$ffff#00' });
    const client = new GdbClient(server);
    const answer = client.memory(0n, 2);
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(server.seen.at(-1), '-');
    server.push(packet('ffff'));
    assert.deepEqual(await answer, Buffer.from([0xff, 0xff]));
  });

  it('undoes escapes', async () => {
    const client = new GdbClient(new FakeServer({ x: packet('a}\x03b') }));
    assert.equal(await client.command('x'), 'a#b');
  });

  it('rejects what waits, and what comes later, when the server goes', async () => {
    const server = new FakeServer({});
    const client = new GdbClient(server);
    const waiting = client.command('vCont;c');
    server.destroy();
    await assert.rejects(waiting, { code: 'GDB_CLOSED' });
    await assert.rejects(client.step(), { code: 'GDB_CLOSED' });
  });
});
