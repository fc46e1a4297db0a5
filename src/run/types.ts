/** What a running VM is known by below the public API: accelerator, tier, boot stages, how it ends. */
import type { VcpuState } from '../arch/vcpu-state.js';

export type AcceleratorName = 'kvm' | 'wasm';
/** `0` interprets, `1` also translates hot code to WebAssembly; `auto` is `1`. */
export type TierChoice = '0' | '1' | 'auto';
export type LoadMode = 'map' | 'read';

/** The stages of a boot, in order. */
export const BOOT_STAGES = ['vmm_init_end', 'linux_start_kernel', 'linux_start_user'] as const;
export type StageName = (typeof BOOT_STAGES)[number];

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
  /** `status`: what the guest said that its program ended with, 0 to 255, when it said something. */
  | { readonly kind: 'poweroff'; readonly status?: number }
  | { readonly kind: 'stopped' }
  /** The guest has reset the machine, and the VM does not boot again (`VmOptions.reboot`). */
  | { readonly kind: 'reboot' }
  /** A triple fault, with the state of the vCPU that met it. */
  | { readonly kind: 'shutdown'; readonly vcpu: VcpuState }
  /** The monitor could not go on; `code` is that of a PandoError. */
  | {
      readonly kind: 'error';
      readonly code: string;
      readonly message: string;
      readonly remedy?: string;
    };
