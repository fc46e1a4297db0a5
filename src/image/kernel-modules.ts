/**
 * The kernel modules that a VM with devices needs, as an archive that the guest's initrd goes on with:
 * lib/modules/VERSION with modules.dep and modules.alias, from which modprobe finds a device's driver
 * (kmod, depmod.d(5), modules.dep(5)). What depends on what stands in the modules themselves: section
 * .modinfo, "depends=" and "alias=" (Linux, include/linux/module.h).
 */
import { PandoError } from '../error.js';
import type { CpioInput } from '../loader/cpio-writer.js';
import { decompressXz } from '../loader/decompress/xz.js';
import { elfSection } from '../loader/elf-section.js';

/** Drivers of our devices, and what root file systems are mounted with. Some kernels have them built in. */
const WANTED = [
  'virtio_mmio',
  'virtio_blk',
  'virtio_net',
  'virtio_rng',
  'virtio_balloon',
  'virtio_pmem',
  'nd_pmem',
  'vmw_vsock_virtio_transport',
  'erofs',
  'overlay',
  'ext4',
  // ext4 asks for the checksum by its name in the crypto interface, which is no dependency.
  'crc32c_generic',
];

/** An unpacked module has some megabytes at most. */
export const MODULE_LIMIT = 64 << 20;

/** Which files of a kernel package are modules. */
export function isModule(path: string): boolean {
  return /^(usr\/)?lib\/modules\/[^/]+\/kernel\/.*\.ko(\.xz)?$/.test(path);
}

interface KernelModule {
  /** With underscores, as the kernel names it. */
  readonly name: string;
  /** Below lib/modules/VERSION, without .xz. */
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly depends: readonly string[];
  readonly aliases: readonly string[];
}

/** Collects modules of one kernel package; `add` takes its files in any order. */
export class KernelModules {
  readonly #files = new Map<string, { path: string; packed: Uint8Array }>();
  #version = '';

  /** @param path of the file in the package, see `isModule` */
  add(path: string, packed: Uint8Array): void {
    const [, version = '', below = ''] = /lib\/modules\/([^/]+)\/(.*)$/.exec(path) ?? [];
    this.#version = version;
    this.#files.set(nameOf(path), { path: below.replace(/\.xz$/, ''), packed });
  }

  /**
   * The archive's entries, parents before children: the wanted modules with all that they depend on.
   * @throws PandoError KERNEL_MODULE_INVALID, DECOMPRESS_*
   */
  entries(): CpioInput[] {
    const chosen = new Map<string, KernelModule>();
    for (const name of WANTED) this.#choose(name, chosen);
    const modules = [...chosen.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
    const root = `lib/modules/${this.#version}`;
    const folders = new Set(['lib', 'lib/modules', root]);
    for (const { path } of modules) {
      const parts = `${root}/${path}`.split('/').slice(0, -1);
      for (let depth = 1; depth <= parts.length; depth += 1) {
        folders.add(parts.slice(0, depth).join('/'));
      }
    }
    const pathOf = (name: string): string => chosen.get(name)?.path ?? '';
    const dependencies = modules.map(({ name, path }) => {
      const all = closure(name, chosen).map(pathOf);
      return `${path}:${all.map((other) => ` ${other}`).join('')}\n`;
    });
    const aliases = modules.flatMap(({ name, aliases }) =>
      aliases.map((alias) => `alias ${alias} ${name}\n`),
    );
    return [
      ...[...folders]
        .sort()
        .map((name): CpioInput => ({ kind: 'directory', name, permissions: 0o755 })),
      text(`${root}/modules.dep`, dependencies.join('')),
      text(`${root}/modules.alias`, aliases.join('')),
      ...modules.map(
        ({ path, bytes }): CpioInput => ({
          kind: 'file',
          name: `${root}/${path}`,
          permissions: 0o644,
          content: bytes,
        }),
      ),
    ];
  }

  #choose(name: string, chosen: Map<string, KernelModule>): void {
    const file = this.#files.get(name);
    if (file === undefined || chosen.has(name)) return;
    const bytes = file.path.endsWith('.ko') ? unpack(file.packed) : file.packed;
    const info = moduleInfo(name, bytes);
    const module = { name, path: file.path, bytes, ...info };
    chosen.set(name, module);
    for (const other of info.depends) this.#choose(other, chosen);
  }
}

function nameOf(path: string): string {
  return (path.split('/').at(-1) ?? '').replace(/\.ko(\.xz)?$/, '').replaceAll('-', '_');
}

const XZ_MAGIC = 0xfd;

function unpack(packed: Uint8Array): Uint8Array {
  return packed[0] === XZ_MAGIC ? decompressXz(packed, { limit: MODULE_LIMIT }) : packed;
}

/** All that a module depends on, in the order of modules.dep: what is needed last stands last. */
function closure(name: string, modules: ReadonlyMap<string, KernelModule>): string[] {
  const found: string[] = [];
  const visit = (each: string): void => {
    for (const other of modules.get(each)?.depends ?? []) {
      if (!modules.has(other)) continue;
      const at = found.indexOf(other);
      if (at >= 0) found.splice(at, 1);
      found.push(other);
      visit(other);
    }
  };
  visit(name);
  return found;
}

function moduleInfo(
  name: string,
  bytes: Uint8Array,
): { depends: readonly string[]; aliases: readonly string[] } {
  const section = elfSection(bytes, '.modinfo');
  if (section === undefined) {
    throw new PandoError('KERNEL_MODULE_INVALID', `kernel module ${name} has no section .modinfo`, {
      remedy: 'get the kernel package again',
    });
  }
  const fields = Buffer.from(section).toString('latin1').split('\0');
  const values = (key: string): string[] =>
    fields
      .filter((field) => field.startsWith(`${key}=`))
      .map((field) => field.slice(key.length + 1));
  return {
    depends: values('depends').flatMap((list) =>
      list
        .split(',')
        .filter((item) => item !== '')
        .map((item) => item.replaceAll('-', '_')),
    ),
    aliases: values('alias'),
  };
}

function text(name: string, contents: string): CpioInput {
  return { kind: 'file', name, permissions: 0o644, content: new TextEncoder().encode(contents) };
}
