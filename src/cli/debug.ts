/** `pando debug`: tools for work on the engine. */
import type { Command } from 'commander';
import { registerLockstep } from './debug-lockstep.js';

/** Adds the command to the program. */
export function registerDebugCommand(program: Command): void {
  const debug = program.command('debug').description('tools for work on the engine');
  registerLockstep(debug);
}
