import type { AcceleratorName } from './types.js';

export async function chooseAccelerator(
  wanted: AcceleratorName | 'auto',
  _size: { readonly memory: number; readonly cpus: number },
): Promise<AcceleratorName> {
  return wanted === 'kvm' ? 'kvm' : 'wasm';
}
