/** Entry of the command line, started by bin/pando.js. */
import { main } from './program.js';
import { VERBS } from './verbs.js';

void main(VERBS);
