/**
 * A lock between processes: a file that holds the name of its holder, made in one step by link(2). A
 * holder that has died without giving it back is known by /proc, and loses it.
 */
import {
  linkSync,
  mkdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const RETRY_MS = 100;
/** Taking a dead holder's lock is a matter of microseconds; whoever died over it is passed by. */
const TAKING_LIMIT_MS = 10_000;

/** A process that is there: its number, and when it began (proc(5), field 22 of stat); or undefined. */
function nameOf(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return `${pid} ${fields[19]}`;
  } catch {
    return undefined;
  }
}

function read(path) {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Makes a file or folder; false when it is there already. */
function made(make) {
  try {
    make();
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  }
}

/** Removes the lock of a dead holder, unless somebody else does or has done it. */
function takeFrom(path, holder) {
  const guard = `${path}.taking`;
  if (!made(() => mkdirSync(guard))) {
    const age = Date.now() - (statSync(guard, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    if (age > TAKING_LIMIT_MS) rmdirSync(guard);
    return;
  }
  try {
    if (read(path) === holder) rmSync(path);
  } finally {
    rmdirSync(guard);
  }
}

/**
 * Waits until no other process holds the lock, and holds it until this one ends.
 * @param path where the lock is; its folder is made
 * @param onWait told once, with the holder's process number, when there is something to wait for
 * @returns what gives it back earlier
 */
export async function lock(path, onWait) {
  mkdirSync(dirname(path), { recursive: true });
  const self = nameOf(process.pid) ?? `${process.pid} 0`;
  const own = `${path}.${process.pid}`;
  writeFileSync(own, self);
  let told = false;
  try {
    while (!made(() => linkSync(own, path))) {
      const holder = read(path);
      if (holder === undefined) continue;
      const pid = Number(holder.split(' ')[0]);
      if (nameOf(pid) !== holder) {
        takeFrom(path, holder);
        continue;
      }
      if (!told) onWait(pid);
      told = true;
      await sleep(RETRY_MS);
    }
  } finally {
    rmSync(own, { force: true });
  }
  const release = () => {
    process.off('exit', release);
    if (read(path) === self) rmSync(path, { force: true });
  };
  process.on('exit', release);
  return release;
}
