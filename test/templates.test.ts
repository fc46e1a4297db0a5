/** Templates that the npm package e2b, unmodified, builds with `pando serve`. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { BuildError, Sandbox, Template, waitForFile } from 'e2b';
import { type Served, serve, TIMEOUTS } from './testing/served.js';

const KEY = 'e2b_0123456789';
const OTHER_KEY = 'e2b_abcdefabcd';
/** The store outlives the test, and another run of it may be going on. */
const NAME = `greeting-${process.pid}`;
const folder = mkdtempSync(join(tmpdir(), 'pando-template-'));
let served: Served;

before(async () => {
  served = await serve(['--api-key', KEY, '--api-key', OTHER_KEY]);
  process.env.E2B_API_KEY = KEY;
  mkdirSync(join(folder, 'app', 'inner'), { recursive: true });
  writeFileSync(join(folder, 'app', 'inner', 'file'), 'of the app');
  writeFileSync(join(folder, 'app', '.hidden'), 'hidden');
  writeFileSync(join(folder, 'tool.sh'), '#!/bin/sh\necho tool $GREETING\n');
});

after(() => {
  served.kill();
  rmSync(folder, { recursive: true });
});

test('a template is built in steps, and sandboxes go on from it', async () => {
  const template = Template({ fileContextPath: folder })
    .fromBaseImage()
    .setEnvs({ GREETING: 'hello', PATH: '/opt/bin:$PATH' })
    .runCmd('mkdir -p /opt && echo "$GREETING" > /opt/mark && echo said; echo wrong >&2')
    .copy('app', '/opt/app', { user: 'user' })
    .copy('tool.sh', '/opt/bin/tool', { mode: 0o755 })
    .copy('tool.*', '/opt/pattern/')
    .setUser('user')
    .setWorkdir('/opt/work')
    .runCmd('tool > by-tool')
    .setStartCmd(
      'echo $$ > /tmp/started; while :; do sleep 1000; done',
      waitForFile('/tmp/started'),
    );
  const lines: string[] = [];
  const build = await Template.build(template, `${NAME}:v1`, {
    ...TIMEOUTS,
    onBuildLogs: ({ message }) => lines.push(message),
  });
  assert.deepEqual(build.tags, ['v1']);
  assert.ok(lines.includes('said') && lines.includes('wrong'), lines.join('\n'));
  assert.equal((await Template.getBuildStatus(build)).status, 'ready');

  const sandbox = await Sandbox.create(`${NAME}:v1`, { ...TIMEOUTS, envs: { OWN: 'mine' } });
  const { stdout } = await sandbox.commands.run(
    `id -un; pwd; tool; echo $OWN; cat by-tool /opt/mark /opt/app/inner/file /opt/app/.hidden
    echo; stat -c '%u %a' by-tool /opt/app/inner/file /opt/bin/tool
    ls /opt/pattern; kill -0 $(cat /tmp/started) && echo runs`,
  );
  const expected = `user\n/opt/work\ntool hello\nmine\ntool hello\nhello\nof the apphidden
1000 644\n1000 644\n0 755\ntool.sh\nruns\n`;
  assert.equal(stdout, expected);
  await sandbox.kill();
});

test('a template outlives its server', async () => {
  served.server.kill('SIGKILL');
  await once(served.server, 'exit');
  served = await serve(['--api-key', KEY, '--api-key', OTHER_KEY]);
  assert.equal(await Template.exists(`${NAME}:v1`), true);
});

test('a template goes on from another; names and tags', async () => {
  const second = Template().fromTemplate(`${NAME}:v1`).runCmd('tool > again');
  const { tags } = await Template.build(second, NAME, { ...TIMEOUTS, tags: ['latest', 'stable'] });
  assert.deepEqual(tags, ['latest', 'stable']);
  const sandbox = await Sandbox.create(`${NAME}:stable`, TIMEOUTS);
  assert.equal(await sandbox.files.read('/opt/work/again'), 'tool hello\n');
  await sandbox.kill();

  assert.equal(await Template.exists(NAME), true);
  assert.equal(await Template.exists('no-such-template'), false);
  await Template.assignTags(`${NAME}:v1`, ['old', 'latest']);
  const tagged = await Template.getTags(NAME);
  const buildOf = (wanted: string) => tagged.find(({ tag }) => tag === wanted)?.buildId;
  assert.deepEqual(tagged.map(({ tag }) => tag).sort(), ['latest', 'old', 'stable', 'v1']);
  assert.equal(buildOf('latest'), buildOf('v1'));
  assert.notEqual(buildOf('stable'), buildOf('v1'));
  await Template.removeTags(NAME, ['stable', 'old']);
  assert.equal((await Template.getTags(NAME)).length, 2);
  await assert.rejects(Sandbox.create(`${NAME}:stable`, TIMEOUTS), 'its build has gone');

  const other = { apiKey: OTHER_KEY };
  assert.equal(await Template.exists(NAME, other), false, "another key's template");
  await assert.rejects(Sandbox.create(`${NAME}:v1`, { ...TIMEOUTS, ...other }));
  await assert.rejects(Template.assignTags(`${NAME}:v1`, 'theirs', other));
});

test('a build that fails says where', async () => {
  const failing = Template().fromBaseImage().runCmd('echo before').runCmd('echo why >&2; exit 3');
  const lines: string[] = [];
  await assert.rejects(
    Template.build(failing, `${NAME}-failing`, {
      ...TIMEOUTS,
      onBuildLogs: ({ message }) => lines.push(message),
    }),
    (error: unknown) => error instanceof BuildError && /exit status 3/.test(error.message),
  );
  assert.ok(lines.includes('why'));
  assert.equal(await Template.exists(`${NAME}-failing`), false);
  const none = Template().fromImage('no-such-image');
  await assert.rejects(Template.build(none, `${NAME}-none`, TIMEOUTS), /no image/);
  const headers = { 'x-api-key': KEY };
  const removed = `${served.url.origin}/templates/${NAME}`;
  assert.equal((await fetch(removed, { method: 'DELETE', headers })).status, 204);
  assert.equal(await Template.exists(NAME), false);
});
