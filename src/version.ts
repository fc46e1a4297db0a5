/** The package's version. */
import { readFileSync } from 'node:fs';

interface PackageFile {
  readonly version: string;
}

const file = new URL('../package.json', import.meta.url);

/** Version of Pando, e.g. `0.1.0`. */
export const VERSION = (JSON.parse(readFileSync(file, 'utf8')) as PackageFile).version;
