/** The public types of a virtual machine: what goes in, what can be seen, how it ends. */
import type { VcpuState } from '../arch/vcpu-state.js';
import type { BalloonReport } from '../backend/balloon-host.js';
import type { FrameLink } from '../devices/frame-link.js';
import type { GuestMemoryStatistics } from '../devices/virtio/balloon.js';
import type { ImagePart } from '../loader/plan.js';
import type { DiskOptions } from '../run/devices.js';
import type {
  AcceleratorName,
  LoadMode,
  Stage,
  StageName,
  TierChoice,
  VmExit,
} from '../run/types.js';
import type { VmNetworkOptions } from '../run/vm-network.js';

export type {
  AcceleratorName,
  BalloonReport,
  DiskOptions,
  GuestMemoryStatistics,
  LoadMode,
  Stage,
  StageName,
  TierChoice,
  VcpuState,
  VmExit,
  VmNetworkOptions,
};

/** Everything that makes a VM. */
export interface VmOptions {
  /** Path of a kernel: an ELF with the PVH note, or a bzImage that holds one. */
  readonly kernel: string;
  /** Path of an initial RAM disk. */
  readonly initrd?: string | undefined;
  /** Path of an archive that follows the initrd's, such as one with the kernel's modules. */
  readonly modules?: string | undefined;
  /**
   * Paths of files of whole pages that the guest sees as one persistent memory behind its RAM
   * (/dev/pmem0), one behind the other. They are mapped, copy-on-write. RAM and they fit below 3 GiB.
   */
  readonly pmem?: readonly string[] | undefined;
  /** Kernel command line, at most 2047 bytes. */
  readonly commandLine?: string | undefined;
  /** Guest RAM in bytes, a multiple of 4096; 1 GiB when absent. */
  readonly memory?: number | undefined;
  /** Number of virtual processors; 1 when absent. */
  readonly cpus?: number | undefined;
  /**
   * CPU model: `v1`, `v2` (x86-64 micro-architecture levels) or `max`, all that there is; `max` when absent.
   * On kvm also `v3`, `host`, which is `max`, and behind each `,-NAME` for features to take away, e.g. `host,-cx16`.
   */
  readonly cpu?: string | undefined;
  /** `auto` takes kvm where it opens and works; `auto` when absent. */
  readonly accelerator?: AcceleratorName | 'auto' | undefined;
  /**
   * Nobody changes the files while VMs use them: map them as they are instead of a copy in the store. Files
   * of an image store need not be told; false when absent.
   */
  readonly immutableImages?: boolean | undefined;
  /** Deduplicate pages that all guests of a mapped kernel write with the same bytes; true when absent. */
  readonly deduplicate?: boolean | undefined;
  /** Tier of the wasm accelerator, see TierChoice; `auto` when absent. */
  readonly tier?: TierChoice | undefined;
  /** `map` maps the images copy-on-write over guest RAM, `read` copies them; `map` when absent. */
  readonly load?: LoadMode | undefined;
  /** Disks, which a Linux guest sees as /dev/vda, /dev/vdb … in this order. */
  readonly disks?: readonly DiskOptions[] | undefined;
  /** Gives the guest random bytes of the host; false when absent. */
  readonly rng?: boolean | undefined;
  /**
   * Gives memory that the guest frees back to the host, and shows how the guest uses its memory
   * (`VmMemory.balloon`); false when absent.
   */
  readonly balloon?: boolean | undefined;
  /** Sockets between guest and host, see `Vm.vsock`; false when absent. */
  readonly vsock?: boolean | undefined;
  /**
   * A network device: the link of a `Network`, or of anything else, which is closed with the VM; `user`
   * gives the VM a network of its own with the default policy; options one with rules and ports, or passt.
   */
  readonly net?: FrameLink | 'user' | VmNetworkOptions | undefined;
  /** A reset of the guest boots it again; false: it ends the VM, `exited` gives `reboot`; true when absent. */
  readonly reboot?: boolean | undefined;
  /** When it is aborted the VM ends, as by `stop`; `create` rejects with its reason when it is by then. */
  readonly signal?: AbortSignal | undefined;
}

/** A VM that goes on from a snapshot of the store: its machine is the snapshot's. */
export interface RestoreOptions {
  readonly snapshot: string;
  /**
   * The network of a machine that has one, as of VmOptions; one like the snapshot's when absent, with its
   * published ports on free ports of the host.
   */
  readonly net?: VmOptions['net'];
  /** As of VmOptions: it is not the snapshot's. */
  readonly reboot?: boolean | undefined;
  /** As of VmOptions. */
  readonly signal?: AbortSignal | undefined;
}

/** How a VM is cloned. */
export interface CloneOptions {
  /**
   * The network of each clone, by its number from 0; one like the VM's when absent, with its published ports
   * on free ports of the host.
   */
  readonly net?: (clone: number) => VmOptions['net'] | Promise<VmOptions['net']>;
}

/** How a VM is written to the store. */
export interface SnapshotOptions {
  /** Up to 64 letters, digits, dots, hyphens and underscores. */
  readonly name: string;
  /** Takes the place of a snapshot of that name; false when absent. */
  readonly replace?: boolean;
}

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
  /** Of a VM with a balloon. */
  readonly balloon?: BalloonReport;
}
