/**
 * The image store of the tests: in the cache, so that a clean checkout finds it again, and never the
 * user's own.
 */
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';

const chosen = process.env.XDG_CACHE_HOME;
const cache = chosen && isAbsolute(chosen) ? chosen : join(process.env.HOME || homedir(), '.cache');

/** What tests have in their environment beside the user's. */
export const TEST_ENVIRONMENT = { PANDO_STORE: join(cache, 'pando', 'test-store') };
