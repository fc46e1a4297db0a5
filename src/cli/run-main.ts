/** Entry of `pando run` alone: it starts without what the other verbs load. */
import { main } from './program.js';
import { registerRunCommand } from './run.js';

void main([registerRunCommand]);
