/**
 * The image's own initrd: static busybox, a link for each of its applets, and the scripts of
 * init-script.ts. The same busybox gives the same bytes: times are 0, owners root, order fixed.
 */
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { PandoError } from "../error.js";
import type { CpioEntry } from "../loader/cpio.js";
import { reason } from "./directories.js";
import { GROUP, INIT_SCRIPT, PASSWD, PROFILE, RUN_SCRIPT } from "./init-script.js";
import { run } from "./subprocess.js";

/** File type bits of a mode (POSIX sys/stat.h, Linux values). */
export const S_IFMT = 0o170000;
export const S_IFDIR = 0o040000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;
export const S_IFCHR = 0o020000;

const FOLDERS: readonly (readonly [string, number])[] = [
  ["bin", 0o755],
  ["dev", 0o755],
  ["etc", 0o755],
  ["proc", 0o555],
  ["root", 0o700],
  ["run", 0o755],
  ["sbin", 0o755],
  ["sys", 0o555],
  ["tmp", 0o1777],
  ["usr", 0o755],
  ["usr/bin", 0o755],
  ["usr/sbin", 0o755],
];

/** Owner root, time 0. */
export function rootEntry(path: string, mode: number, data: Uint8Array | string = ""): CpioEntry {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  return { path, mode, data: bytes };
}

/**
 * Asks busybox itself which applets it has; it is static, so any x86-64 Linux runs it.
 * @param folder where the program may be written for that time
 * @returns paths without a leading "/", such as "sbin/init"
 * @throws PandoError BUSYBOX_NOT_RUNNABLE
 */
export async function listApplets(busybox: Uint8Array, folder: string): Promise<string[]> {
  const own = await mkdtemp(join(folder, "busybox-"));
  try {
    const program = join(own, "busybox");
    await writeFile(program, busybox);
    await chmod(program, 0o700);
    const { status, stdout } = await run(program, ["--list-full"]);
    const applets = stdout.split("\n").filter((path) => /^[\w./[-]+$/.test(path));
    if (status === 0 && applets.includes("bin/sh") && applets.includes("sbin/init")) return applets;
    throw new Error(`--list-full gave ${applets.length} applets, status ${status}`);
  } catch (cause) {
    throw new PandoError("BUSYBOX_NOT_RUNNABLE", `busybox in ${folder}: ${reason(cause)}`, {
      remedy: "set XDG_CACHE_HOME to a folder whose file system lets programs run",
      cause,
    });
  } finally {
    await rm(own, { recursive: true, force: true });
  }
}

/**
 * The archive's entries, parents before children.
 * @param applets paths as `listApplets` gives them
 */
export function initrdEntries(busybox: Uint8Array, applets: readonly string[]): CpioEntry[] {
  const folders = new Map(FOLDERS);
  const links = applets.filter((path) => path !== "bin/busybox" && path !== "linuxrc").sort();
  for (const path of links) {
    const parts = path.split("/").slice(0, -1);
    parts.forEach((_, index) => {
      const parent = parts.slice(0, index + 1).join("/");
      if (!folders.has(parent)) folders.set(parent, 0o755);
    });
  }
  return [
    ...[...folders].sort().map(([path, mode]) => rootEntry(path, S_IFDIR | mode)),
    // The kernel opens it for /init before /init can mount anything.
    { ...rootEntry("dev/console", S_IFCHR | 0o600), rdevMajor: 5, rdevMinor: 1 },
    rootEntry("init", S_IFREG | 0o755, INIT_SCRIPT),
    rootEntry("etc/group", S_IFREG | 0o644, GROUP),
    rootEntry("etc/passwd", S_IFREG | 0o644, PASSWD),
    rootEntry("etc/profile", S_IFREG | 0o644, PROFILE),
    rootEntry("etc/run", S_IFREG | 0o755, RUN_SCRIPT),
    rootEntry("bin/busybox", S_IFREG | 0o755, busybox),
    ...links.map((path) => rootEntry(path, S_IFLNK | 0o777, "/bin/busybox")),
  ];
}
