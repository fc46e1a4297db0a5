/**
 * Uses the npm package e2b, unmodified, with a server of this machine: builds a template, and makes a sandbox of it.
 * `npm install e2b`; the server is `pando serve`.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { Sandbox, Template } from 'e2b';

const pando = new URL('../../bin/pando.js', import.meta.url).pathname;
const server = spawn(process.execPath, [pando, 'serve', '--listen', '127.0.0.1:0'], {
  stdio: ['ignore', 'pipe', 'ignore'],
});
const [line] = await once(createInterface({ input: server.stdout }), 'line');
const url = line.replace('pando serve: ', '');
const options = { apiUrl: url, sandboxUrl: url, apiKey: 'e2b_any', requestTimeoutMs: 300_000 };

try {
  const template = Template().fromBaseImage().setEnvs({ GREETING: 'hello' }).runCmd('mkdir /app');
  const { templateId } = await Template.build(template, `cookbook-${process.pid}`, options);
  const sandbox = await Sandbox.create(templateId, options);
  const { stdout } = await sandbox.commands.run('echo $GREETING from $(ls -d /app)');
  console.log(stdout.trim());
  await fetch(`${url}/templates/${templateId}`, {
    method: 'DELETE',
    headers: { 'x-api-key': options.apiKey },
  });
} finally {
  server.kill();
  await once(server, 'exit');
}

// hello from /app
