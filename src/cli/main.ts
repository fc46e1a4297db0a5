/** Entry of the command line, started by bin/pando.js. */
import { ownProcess } from '../platform/v8-flags.js';
import { main } from './program.js';
import { VERBS } from './verbs.js';

ownProcess();
void main(VERBS);
