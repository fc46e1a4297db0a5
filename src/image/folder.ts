/**
 * Makes initrd entries from a folder. Everything belongs to root in the archive, whoever owns it
 * here, so an ordinary user can build one; modes, symbolic links and device nodes are kept, and times
 * are 0, so the same content gives the same bytes.
 */
import { lstat, readdir, readFile, readlink } from "node:fs/promises";
import { join } from "node:path";
import { PandoError } from "../error.js";
import type { CpioEntry } from "../loader/cpio.js";
import { reason } from "./directories.js";
import { rootEntry, S_IFMT } from "./initrd.js";

/** newc has 8 hexadecimal digits for a file's size. */
const FILE_LIMIT = 0xffffffff;

/** Splits a dev_t of Linux (sys/sysmacros.h, gnu_dev_major and gnu_dev_minor) below 2^32. */
function deviceNumbers(rdev: number): { rdevMajor: number; rdevMinor: number } {
  return {
    rdevMajor: (rdev >>> 8) & 0xfff,
    rdevMinor: (rdev & 0xff) | ((rdev >>> 12) & 0xfff00),
  };
}

async function readEntry(path: string, name: string): Promise<CpioEntry | undefined> {
  const found = await lstat(path);
  const { mode } = found;
  if (found.isFile()) {
    if (found.size > FILE_LIMIT) {
      throw new PandoError(
        "INITRD_FILE_TOO_LARGE",
        `${path} has ${found.size} bytes, a cpio newc archive holds files up to ${FILE_LIMIT}`,
      );
    }
    return rootEntry(name, mode, await readFile(path));
  }
  if (found.isSymbolicLink()) return rootEntry(name, mode, await readlink(path));
  if (found.isBlockDevice() || found.isCharacterDevice()) {
    return { ...rootEntry(name, mode), ...deviceNumbers(found.rdev) };
  }
  // A socket belongs to the process that listens on it: an archive of one would be of no use.
  if (found.isSocket()) return undefined;
  return rootEntry(name, mode & (S_IFMT | 0o7777));
}

/**
 * Reads a folder into entries, parents before children, names in code unit order.
 * @throws PandoError INITRD_FOLDER_UNREADABLE, INITRD_FILE_TOO_LARGE
 */
export async function folderEntries(folder: string): Promise<CpioEntry[]> {
  const entries: CpioEntry[] = [];
  const walk = async (prefix: string): Promise<void> => {
    for (const name of (await readdir(join(folder, prefix))).sort()) {
      const path = prefix === "" ? name : `${prefix}/${name}`;
      const entry = await readEntry(join(folder, path), path);
      if (entry === undefined) continue;
      entries.push(entry);
      if ((await lstat(join(folder, path))).isDirectory()) await walk(path);
    }
  };
  try {
    await walk("");
  } catch (cause) {
    if (cause instanceof PandoError) throw cause;
    throw new PandoError("INITRD_FOLDER_UNREADABLE", `folder ${folder}: ${reason(cause)}`, {
      remedy: "name a folder whose files you may all read",
      cause,
    });
  }
  return entries;
}
