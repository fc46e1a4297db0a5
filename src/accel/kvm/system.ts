/**
 * /dev/kvm: opened, its version and capabilities checked, its refusals as coded errors. Requests:
 * KVM API documentation, section 4.1 to 4.6.
 */
import { closeSync, existsSync, openSync } from 'node:fs';
import { PandoError } from '../../error.js';
import { errnoName, errnoOf } from '../../host/errno.js';
import { ioctl, ioctlBytes } from '../../host/ioctl.js';
import { CAPABILITY, KVM, KVM_API_VERSION, STRUCT } from './api.js';

const DEVICE = '/dev/kvm';

/** What a machine of Pando needs; Linux has had all of it since 4.13. */
const REQUIRED: readonly (keyof typeof CAPABILITY)[] = [
  'KVM_CAP_USER_MEMORY',
  'KVM_CAP_IRQCHIP',
  'KVM_CAP_IRQ_ROUTING',
  'KVM_CAP_PIT2',
  'KVM_CAP_EXT_CPUID',
  'KVM_CAP_MP_STATE',
  'KVM_CAP_VCPU_EVENTS',
  'KVM_CAP_ADJUST_CLOCK',
  'KVM_CAP_IMMEDIATE_EXIT',
];

export const WASM_REMEDY = 'use --accel wasm';
/** Ends a remedy that makes KVM work. */
export const OR_WASM = `; or ${WASM_REMEDY}`;

/** A failed request as an error with a stable code. `result` is the negated error number. */
export function kvmFailure(request: keyof typeof KVM, result: number, detail = ''): PandoError {
  return new PandoError(
    'KVM_REQUEST_FAILED',
    `${request}${detail === '' ? '' : ` (${detail})`}: ${errnoName(-result)}`,
    { remedy: WASM_REMEDY },
  );
}

/** Makes a request whose argument is a value; throws what the kernel refuses. */
export function kvmValue(
  fd: number,
  request: keyof typeof KVM,
  argument: number | bigint = 0,
  detail = '',
): number {
  const result = ioctl(fd, KVM[request], argument);
  if (result < 0) throw kvmFailure(request, result, detail);
  return result;
}

/** Makes a request on a structure, which the kernel reads or fills in; throws what it refuses. */
export function kvmStruct(
  fd: number,
  request: keyof typeof KVM,
  bytes: Uint8Array,
  detail = '',
): number {
  const result = ioctlBytes(fd, KVM[request], bytes);
  if (result < 0) throw kvmFailure(request, result, detail);
  return result;
}

/** An open /dev/kvm. */
export class KvmSystem {
  readonly fd: number;

  private constructor(fd: number) {
    this.fd = fd;
  }

  /**
   * Opens the device and checks that it offers what a machine needs.
   * @param device for tests
   * @throws PandoError KVM_DEVICE_MISSING, KVM_PERMISSION, KVM_DEVICE_REFUSED, KVM_API_VERSION,
   *   KVM_CAPABILITY_MISSING
   */
  static open(device = DEVICE): KvmSystem {
    const system = new KvmSystem(openDevice(device));
    try {
      system.#check(device);
      return system;
    } catch (error) {
      system.close();
      throw error;
    }
  }

  #check(device: string): void {
    const version = ioctl(this.fd, KVM.KVM_GET_API_VERSION);
    if (version !== KVM_API_VERSION) {
      const answer = version < 0 ? errnoName(-version) : `${version}`;
      throw new PandoError(
        'KVM_API_VERSION',
        `${device} answers KVM_GET_API_VERSION with ${answer} instead of ${KVM_API_VERSION}`,
        { remedy: WASM_REMEDY },
      );
    }
    const missing = REQUIRED.filter((name) => this.capability(name) <= 0);
    if (missing.length > 0) {
      throw new PandoError('KVM_CAPABILITY_MISSING', `${device} lacks ${missing.join(', ')}`, {
        remedy: `use a kernel of 4.13 or later${OR_WASM}`,
      });
    }
  }

  /** What KVM_CHECK_EXTENSION answers: 0 for a missing capability, else 1 or a number it documents. */
  capability(name: keyof typeof CAPABILITY): number {
    return ioctl(this.fd, KVM.KVM_CHECK_EXTENSION, CAPABILITY[name]);
  }

  /** Bytes of the area that a vCPU shares with its runner. */
  get runBytes(): number {
    return kvmValue(this.fd, 'KVM_GET_VCPU_MMAP_SIZE');
  }

  static #msrIndices: readonly number[] | undefined;

  /** The MSRs that a vCPU's state consists of. */
  msrIndices(): readonly number[] {
    KvmSystem.#msrIndices ??= this.#askMsrIndices();
    return KvmSystem.#msrIndices;
  }

  #askMsrIndices(): number[] {
    const { nmsrs, indices } = STRUCT.kvm_msr_list;
    const head = new Uint8Array(indices);
    // Fails with E2BIG and the right number; the next call has room for it.
    ioctlBytes(this.fd, KVM.KVM_GET_MSR_INDEX_LIST, head);
    const count = new DataView(head.buffer).getUint32(nmsrs, true);
    const list = new Uint8Array(indices + count * 4);
    const view = new DataView(list.buffer);
    view.setUint32(nmsrs, count, true);
    kvmStruct(this.fd, 'KVM_GET_MSR_INDEX_LIST', list);
    const known = Math.min(count, view.getUint32(nmsrs, true));
    return Array.from({ length: known }, (_, i) => view.getUint32(indices + i * 4, true));
  }

  close(): void {
    closeSync(this.fd);
  }
}

function openDevice(device: string): number {
  try {
    return openSync(device, 'r+');
  } catch (cause) {
    const name = errnoOf(cause);
    if (!existsSync(device)) {
      throw new PandoError('KVM_DEVICE_MISSING', `${device} does not exist`, {
        remedy: `load the module kvm_intel or kvm_amd (virtualization must be on in the firmware)${OR_WASM}`,
        cause,
      });
    }
    if (name === 'EACCES' || name === 'EPERM') {
      throw new PandoError('KVM_PERMISSION', `${device} may not be opened: ${name}`, {
        remedy: `join its group: sudo usermod -aG kvm $USER, then log in again${OR_WASM}`,
        cause,
      });
    }
    throw new PandoError('KVM_DEVICE_REFUSED', `${device} cannot be opened: ${name ?? cause}`, {
      remedy: WASM_REMEDY,
      cause,
    });
  }
}
