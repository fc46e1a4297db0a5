/** Whole files: those of the program, and what it keeps. */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** @throws the system's error */
export function readWhole(file: URL | string): Buffer<ArrayBuffer> {
  return readFileSync(file);
}

/** Puts a file in its place at once, whole or not at all; makes the folder, but not those above it. */
export function replaceFile(path: string, bytes: Uint8Array): boolean {
  const temporary = `${path}.${process.pid}`;
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
