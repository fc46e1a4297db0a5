/** Asks a program that runs in a sandbox question by question, over its standard input and output. */
import { createInterface } from 'node:readline';
import { Sandbox } from 'pando';

const sandbox = await Sandbox.create();
const calculator = sandbox.exec('while read a b; do echo $((a * b)); done', { stdin: 'pipe' });
const input = await calculator.stdin;
const answers = createInterface({ input: await calculator.stdout })[Symbol.asyncIterator]();

for (const question of ['6 7', '12 12']) {
  input.write(`${question}\n`);
  console.log(question, '=', (await answers.next()).value);
}
input.end();
console.log('status', (await calculator.exited).exitCode);
await sandbox.close();

// 6 7 = 42
// 12 12 = 144
// status 0
