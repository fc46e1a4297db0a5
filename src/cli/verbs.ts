/** All verbs of the command line. */
import { registerBenchCommand } from './bench.js';
import { registerCompletionCommand } from './completion.js';
import { registerDebugCommand } from './debug.js';
import { registerDemoCommand } from './demo.js';
import { registerDoctorCommand } from './doctor.js';
import { registerImageCommand } from './image.js';
import type { Registration } from './program.js';
import { registerQemuCommand } from './qemu.js';
import { registerRunCommand } from './run.js';
import { registerSandboxCommands } from './sandboxes/verbs.js';
import { registerServeCommand } from './serve.js';
import { registerSnapshotCommand } from './snapshot.js';
import { registerTemplateCommand } from './template.js';

/** In the order in which help names them. */
export const VERBS: readonly Registration[] = [
  registerRunCommand,
  registerDemoCommand,
  registerImageCommand,
  registerSnapshotCommand,
  registerTemplateCommand,
  registerServeCommand,
  registerSandboxCommands,
  registerDoctorCommand,
  registerDebugCommand,
  registerBenchCommand,
  registerQemuCommand,
  registerCompletionCommand,
];
