/**
 * Runs code that nobody has read: what it prints is kept, its time is limited, and its machine is thrown away.
 * For Python: `Sandbox.create({ image: 'docker.io/library/python:3.12-slim' })` and `['python3', '-c', code]`.
 */
import { Sandbox } from 'pando';

/** Each with the milliseconds that it may take. */
const programs = [
  ['echo $((6 * 7))', 60_000],
  ['rm -rf /bin /etc; echo done', 60_000],
  ['while :; do :; done', 2000],
];

for (const [code, timeout] of programs) {
  const sandbox = await Sandbox.create();
  try {
    const { stdout, exitCode } = await sandbox.exec(['sh', '-c', code], { timeout });
    console.log(exitCode, stdout.trim());
  } catch (error) {
    console.log(error.code);
  }
  await sandbox.close();
}

// 0 42
// 0 done
// EXEC_TIMEOUT
