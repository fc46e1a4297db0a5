/**
 * The public API of Pando: exactly what users may import.
 *
 * @packageDocumentation
 */
export { PandoError, type PandoErrorDetail } from './error.js';
export type { Observation } from './fleet/observation.js';
export { VmProcess, type VmProcessOptions } from './fleet/process.js';
export type { RemoteVm } from './fleet/remote-vm.js';
export { DEFAULT_KERNEL_PACKAGE, type PullOptions, pullDebian } from './image/debian.js';
export { ensureImage } from './image/ensure-image.js';
export { type ImportOptions, importImage } from './image/import.js';
export {
  type ContainerConfig,
  DEFAULT_IMAGE_NAME,
  type Manifest,
  type ObjectReference,
  type PackageProvenance,
  type Provenance,
  type RootFileSystem,
} from './image/manifest.js';
export { importOciImage, type OciOptions, pullImage } from './image/oci/pull.js';
export type { ProgressSink } from './image/progress.js';
export { type Image, ImageStore, type Removal, type RootImage } from './image/store.js';
export type { ImagePart } from './loader/plan.js';
export type { ConnectionAnswer, ConnectionHook, ConnectionInfo } from './net/connection-info.js';
export { type LinkOptions, Network } from './net/network.js';
export type { NetworkOptions } from './net/options.js';
export type { LinkStatistics, NetworkLink, PublishedAddress } from './net/vm-link.js';
export { type PullPackagesOptions, pullDebianPackages } from './provision/debian.js';
export type { FileEntry, FileKind } from './sandbox/agent/entry.js';
export type { LogLine } from './sandbox/console-log.js';
export { Exec, type ExecOptions, type ExecOutput, type ExecResult } from './sandbox/exec.js';
export type { FileChange, SandboxFiles } from './sandbox/files.js';
export { Sandbox, type SandboxOptions } from './sandbox/sandbox.js';
export type {
  SnapshotDisk,
  SnapshotMachine,
  SnapshotManifest,
  SnapshotNetwork,
} from './snapshot/manifest.js';
export { VERSION } from './version.js';
export type { ConsoleListener } from './vm/console-output.js';
export type {
  AcceleratorName,
  BalloonReport,
  CloneOptions,
  GuestMemoryStatistics,
  LoadMode,
  PartSharing,
  RestoreOptions,
  SnapshotOptions,
  Stage,
  StageName,
  VcpuState,
  VmExit,
  VmMemory,
  VmNetworkOptions,
  VmOptions,
} from './vm/types.js';
export { Vm } from './vm/vm.js';
