/** Copies a folder of the host into a sandbox, runs a program there, and copies out what it made. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Sandbox } from 'pando';

const project = await mkdtemp(join(tmpdir(), 'project-'));
await mkdir(join(project, 'src'));
await writeFile(join(project, 'src', 'words'), 'pear\napple\nfig\n');

const sandbox = await Sandbox.create({ cwd: '/project' });
await sandbox.files.copyIn(project, '/project');
await sandbox.exec('mkdir out && sort src/words > out/sorted', { check: true });
await sandbox.files.copyOut('/project/out', join(project, 'out'));

console.log((await readFile(join(project, 'out', 'sorted'), 'utf8')).trim());
await rm(project, { recursive: true });
await sandbox.close();

// apple
// fig
// pear
