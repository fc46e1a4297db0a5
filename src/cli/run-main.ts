/** Entry of `pando run` alone: it starts without what the other verbs load. */
import { ownProcess } from '../platform/own-process.js';
import { main } from './program.js';
import { registerRunCommand } from './run.js';

ownProcess();
void main([registerRunCommand]);
