/** What this host offers, for those above who may not reach the host themselves. */
export {
  type Capability,
  type HostCapabilities,
  probeCapabilities,
} from '../host/capabilities.js';
export { type AvailableMemory, availableMemory } from '../host/memory-available.js';
