/** What servers keep in a store, beside its images and snapshots. */
import { join } from 'node:path';
import { storeDirectory } from '../image/directories.js';

export interface ServedFolders {
  /** `OWNER.NAME.json` of each template. */
  readonly templates: string;
  /** `SNAPSHOT.json`: what commands get in a sandbox that goes on from it. */
  readonly states: string;
  /** Files that are being written, and archives that builds wait for. */
  readonly temporary: string;
}

export function servedFolders(): ServedFolders {
  const templates = join(storeDirectory(), 'served');
  return {
    templates,
    states: join(templates, 'snapshots'),
    temporary: join(templates, 'temporary'),
  };
}
