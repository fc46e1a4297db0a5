/** Entry of the command line, started by bin/pando.js. */
import { ownProcess } from '../platform/own-process.js';
import { main } from './program.js';
import { VERBS } from './verbs.js';

ownProcess();
void main(VERBS);
