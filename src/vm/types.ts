/** The public types of a virtual machine: what goes in, what can be seen, how it ends. */
import type { VcpuState } from '../arch/vcpu-state.js';
import type { ImagePart } from '../loader/plan.js';

export type { VcpuState };

/** Everything that makes a VM. */
export interface VmOptions {
  /** Path of a kernel: an ELF with the PVH note, or a bzImage that holds one. */
  readonly kernel: string;
  /** Path of an initial RAM disk. */
  readonly initrd?: string;
  /** Kernel command line, at most 2047 bytes. */
  readonly commandLine?: string;
  /** Guest RAM in bytes, a multiple of 4096; 1 GiB when absent. */
  readonly memory?: number;
  /** Number of virtual processors; 1 when absent. */
  readonly cpus?: number;
  /**
   * CPU model on kvm: `host`, `v1`, `v2` or `v3` (x86-64 micro-architecture levels), and `,-NAME` for
   * each feature to take away, e.g. `host,-cx16`; `host` when absent.
   */
  readonly cpu?: string;
  /** `auto` takes kvm where it opens and works; `auto` when absent. */
  readonly accelerator?: AcceleratorName | 'auto';
  /** The files are immutable (the image store's): map them as they are instead of a sealed copy. */
  readonly immutableImages?: boolean;
  /**
   * Share pages that guests of an immutable, mapped image have alike once they have booted; true when
   * absent.
   */
  readonly shareBooted?: boolean;
  /** Tier of the wasm accelerator, see TierChoice; `auto` when absent. */
  readonly tier?: TierChoice;
  /** `map` maps the images copy-on-write over guest RAM, `read` copies them; `map` when absent. */
  readonly load?: LoadMode;
}

export type AcceleratorName = 'kvm' | 'wasm';
/** `0` interprets, `1` also translates hot code to WebAssembly; `auto` is `1`. */
export type TierChoice = '0' | '1' | 'auto';
export type LoadMode = 'map' | 'read';

/** The stages of a boot, in order. */
export type StageName = 'vmm_init_end' | 'linux_start_kernel' | 'linux_start_user';

/** One boot stage as it was seen. */
export interface Stage {
  readonly name: StageName;
  /** Milliseconds since the start of the process. */
  readonly ms: number;
  /** How it was seen, e.g. `first vCPU entry`, `port 0xf4 value 7`, `first console byte`. */
  readonly source: string;
}

/** Why a VM is no longer running. */
export type VmExit =
  | { readonly kind: 'poweroff' }
  | { readonly kind: 'stopped' }
  /** A triple fault, with the state of the vCPU that met it. */
  | { readonly kind: 'shutdown'; readonly vcpu: VcpuState }
  /** The monitor could not go on; `code` is that of a PandoError. */
  | {
      readonly kind: 'error';
      readonly code: string;
      readonly message: string;
      readonly remedy?: string;
    };

/** Pages of 4 KiB of one part of guest memory. */
export interface PartSharing {
  readonly part: ImagePart;
  readonly total: number;
  /** Still the image file's own page. */
  readonly shared: number;
  /** A page of this VM's own. */
  readonly own: number;
  /** Not touched: no memory behind it in this process. */
  readonly untouched: number;
}

/** Where a VM's memory is. */
export interface VmMemory {
  readonly parts: readonly PartSharing[];
  /** How it was measured, e.g. `/proc/self/pagemap`. */
  readonly source: string;
  /** Why something was read although it should have been mapped; empty when nothing was. */
  readonly fallbacks: readonly string[];
}
