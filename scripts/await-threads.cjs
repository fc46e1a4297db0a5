/**
 * Loaded before a program of Pando's: the process leaves only when its threads have ended by themselves, as those do
 * that have waited in vain for another VM. They have loaded whole then, and have heard of their end.
 */
const { isMainThread } = require('node:worker_threads');

if (isMainThread) {
  let threads = 0;
  let leave = () => undefined;
  process.on('worker', (worker) => {
    threads++;
    worker.once('exit', () => {
      threads--;
      if (threads === 0) leave();
    });
  });
  const { exit } = process;
  process.exit = (status) => {
    if (threads === 0) exit(status);
    leave = () => exit(status);
    // Threads that wait do not keep the process.
    setInterval(() => undefined, 1000);
  };
}
