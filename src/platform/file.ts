/** Whole files: those of the program, and what it keeps. */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';

/** @throws the system's error */
export function readWhole(file: URL | string): Buffer<ArrayBuffer> {
  return readFileSync(file);
}

/**
 * Puts a file in its place at once, whole or not at all; makes the folder, but not those above it. A process that
 * is killed meanwhile leaves a file with a suffix behind a dot.
 */
export function replaceFile(path: string, bytes: Uint8Array): boolean {
  // Processes in containers have the same numbers.
  const temporary = `${path}.${randomBytes(6).toString('hex')}`;
  try {
    // Not recursive: the store is there, and Node 20 never comes back where a parent takes no folders.
    if (!existsSync(dirname(path))) mkdirSync(dirname(path));
    writeFileSync(temporary, bytes);
    renameSync(temporary, path);
    return true;
  } catch {
    rmSync(temporary, { force: true });
    return false;
  }
}

/** Writes the last bytes of a file again, in their place, if it begins with `head`; else, or when it fails, nothing. */
export function rewriteEnd(path: string, head: Uint8Array, end: Uint8Array): void {
  let file: number | undefined;
  try {
    file = openSync(path, 'r+');
    const found = new Uint8Array(head.length);
    const length = readSync(file, found, 0, head.length, 0);
    if (length < head.length || Buffer.compare(found, head) !== 0) return;
    writeSync(file, end, 0, end.length, fstatSync(file).size - end.length);
  } catch {
    return;
  } finally {
    if (file !== undefined) closeSync(file);
  }
}
