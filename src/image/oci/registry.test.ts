import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import fc from 'fast-check';
import { PandoError } from '../../error.js';
import { ImageStore } from '../store.js';
import { tarArchive } from '../testing/tar-builder.js';
import { buildImage } from './build.js';
import { readConfiguration, readImageDocument } from './documents.js';
import { parseImageReference, storeNameOf } from './reference.js';
import { RegistrySource } from './registry.js';

const work = mkdtempSync(join(tmpdir(), 'pando-registry-'));
after(() => rmSync(work, { recursive: true, force: true }));

const digestOf = (bytes: Uint8Array) =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const describeBytes = (bytes: Uint8Array) => ({ digest: digestOf(bytes), size: bytes.length });

const layer = tarArchive([{ name: 'file', content: Buffer.alloc(3_000_000, 'content') }]);
const configuration = Buffer.from(
  JSON.stringify({ architecture: 'amd64', rootfs: { diff_ids: [digestOf(layer)] } }),
);
const manifest = Buffer.from(
  JSON.stringify({
    schemaVersion: 2,
    config: describeBytes(configuration),
    layers: [describeBytes(layer)],
  }),
);
const type = 'application/vnd.oci.image.manifest.v1+json';
const index = Buffer.from(
  JSON.stringify({
    schemaVersion: 2,
    manifests: [
      { ...describeBytes(Buffer.from('x')), platform: { os: 'linux', architecture: 'arm64' } },
      {
        mediaType: type,
        ...describeBytes(manifest),
        platform: { os: 'linux', architecture: 'amd64' },
      },
    ],
  }),
);

/** What the registry does with a request; false leaves it to the registry. */
type Hook = (request: IncomingMessage, response: ServerResponse) => boolean;

const servers: Server[] = [];
let requests: IncomingMessage[] = [];

async function serve(hook: Hook): Promise<string> {
  const server = createServer((request, response) => {
    requests.push(request);
    if (hook(request, response)) return;
    const known = new Map<string, Uint8Array>([
      ['/v2/group/image/manifests/v1', index],
      [`/v2/group/image/manifests/${digestOf(manifest)}`, manifest],
      [`/v2/group/image/blobs/${digestOf(configuration)}`, configuration],
      [`/v2/group/image/blobs/${digestOf(layer)}`, layer],
    ]);
    const body = known.get(request.url ?? '');
    const [, start] = /^bytes=(\d+)-$/.exec(request.headers.range ?? '') ?? [];
    if (body === undefined) response.writeHead(404).end();
    else if (start === undefined) response.writeHead(200).end(body);
    else {
      const range = `bytes ${start}-${body.length - 1}/${body.length}`;
      response.writeHead(206, { 'content-range': range }).end(body.subarray(Number(start)));
    }
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `127.0.0.1:${(server.address() as { port: number }).port}`;
}

let stores = 0;

async function pull(host: string, version = 'v1') {
  const source = new RegistrySource({ host, name: 'group/image', version }, { firstDelayMs: 1 });
  const store = new ImageStore(join(work, `store-${++stores}`));
  return buildImage(source, { name: 'image', store });
}

const isLayer = (request: IncomingMessage) => request.url?.endsWith(digestOf(layer)) === true;

/** Sets Docker's configuration for this process. */
function configure(config: object): void {
  writeFileSync(join(work, 'config.json'), JSON.stringify(config));
}

describe('registry client', () => {
  beforeEach(() => {
    requests = [];
    process.env.DOCKER_CONFIG = work;
    configure({});
  });
  afterEach(() => {
    for (const server of servers.splice(0)) {
      server.closeAllConnections();
      server.close();
    }
    delete process.env.DOCKER_CONFIG;
  });

  it('pulls the image for this kind of machine', async () => {
    const image = await pull(await serve(() => false));
    assert.equal(image.manifest.provenance.digest, digestOf(manifest));
    assert.equal(image.paths.length, 2);
  });

  /** A registry that wants tokens; its token service is another server. */
  async function guarded(
    lifetime = Infinity,
    grants: (request: IncomingMessage) => boolean = () => true,
  ) {
    let uses = 0;
    let token = 0;
    const service = await serve((request, response) => {
      if (!grants(request)) response.writeHead(401).end();
      else {
        uses = 0;
        response.end(JSON.stringify({ token: `token-${++token}` }));
      }
      return true;
    });
    return serve((request, response) => {
      const given = request.headers.authorization === `Bearer token-${token}` && ++uses <= lifetime;
      if (given) return false;
      const challenge = `Bearer realm="http://${service}/token",service="reg",scope="repository:group/image:pull"`;
      response.writeHead(401, { 'www-authenticate': challenge }).end();
      return true;
    });
  }

  it('gets a token without credentials, and a new one when it has run out', async () => {
    await pull(await guarded(2));
    const asked = requests.filter(({ url }) => url?.startsWith('/token'));
    assert.equal(asked[0]?.url, '/token?service=reg&scope=repository%3Agroup%2Fimage%3Apull');
    assert.equal(asked.length, 2);
    assert.equal(asked[0]?.headers.authorization, undefined);
  });

  it('shows the credentials of Docker’s configuration to the token service', async () => {
    const wanted = `Basic ${Buffer.from('me:se:cret').toString('base64')}`;
    const host = await guarded(Infinity, ({ headers }) => headers.authorization === wanted);
    await assert.rejects(pull(host), { code: 'REGISTRY_DENIED' });
    configure({ auths: { [host]: { auth: Buffer.from('me:se:cret').toString('base64') } } });
    await pull(host);
  });

  it('asks a credential helper, which may have an identity token', async () => {
    const helper = join(work, 'docker-credential-test');
    writeFileSync(
      helper,
      `#!/bin/sh\nread key\ncase $key in *unknown*) exit 1;; esac\necho '{"Username":"<token>","Secret":"identity"}'\n`,
    );
    chmodSync(helper, 0o755);
    const path = process.env.PATH;
    process.env.PATH = `${work}${delimiter}${path}`;
    try {
      const host = await guarded(Infinity, ({ method }) => method === 'POST');
      configure({ credHelpers: { [host]: 'test' } });
      await pull(host);
      configure({ credsStore: 'test' });
      await pull(host);
      configure({ credHelpers: { [host]: 'missing' } });
      await assert.rejects(pull(host), { code: 'CREDENTIAL_HELPER_FAILED' });
    } finally {
      process.env.PATH = path;
    }
  });

  it('speaks Basic where a registry wants it', async () => {
    const wanted = `Basic ${Buffer.from('a:b').toString('base64')}`;
    const host = await serve(({ headers }, response) => {
      if (headers.authorization === wanted) return false;
      response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end();
      return true;
    });
    configure({ auths: { [host]: { username: 'a', password: 'b' } } });
    await pull(host);
  });

  for (const ranges of [true, false]) {
    it(`goes on where a connection broke, ${ranges ? 'with' : 'without'} ranges`, async () => {
      let breaks = 0;
      const host = await serve((request, response) => {
        if (!isLayer(request) || breaks++ >= 3) {
          if (!ranges) delete request.headers.range;
          return false;
        }
        const start = Number(/\d+/.exec(request.headers.range ?? '')?.[0] ?? 0);
        const from = ranges ? start : 0;
        const status = from > 0 ? 206 : 200;
        const length = String(layer.length - from);
        const range = { 'content-range': `bytes ${from}-${layer.length - 1}/${layer.length}` };
        response.writeHead(status, { 'content-length': length, ...(from > 0 ? range : {}) });
        const end = from + 700_000 * (ranges ? 1 : breaks);
        response.write(layer.subarray(from, end), () => response.destroy());
        return true;
      });
      await pull(host);
      assert.equal(requests.filter(isLayer).length, 4);
    });
  }

  it('tries again what may pass, and gives up in the end', async () => {
    let failures = 3;
    await pull(
      await serve((_, response) => {
        if (failures-- <= 0) return false;
        response.writeHead(failures === 1 ? 429 : 503, { 'retry-after': '0' }).end();
        return true;
      }),
    );
    const dead = await serve((_, response) => Boolean(response.destroy()));
    await assert.rejects(pull(dead), { code: 'REGISTRY_UNREACHABLE' });
    await assert.rejects(pull('127.0.0.1:1'), { code: 'REGISTRY_UNREACHABLE' });
  });

  it('takes credentials to no other host', async () => {
    const elsewhere = await serve(() => false);
    const wanted = `Basic ${Buffer.from('a:b').toString('base64')}`;
    const host = await serve((request, response) => {
      if (request.headers.authorization !== wanted) {
        response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end();
        return true;
      }
      if (!isLayer(request)) return false;
      response.writeHead(307, { location: `http://${elsewhere}${request.url}` }).end();
      return true;
    });
    configure({ auths: { [host]: { username: 'a', password: 'b' } } });
    await pull(host);
    const redirected = requests.filter(({ headers }) => headers.host === elsewhere);
    assert.deepEqual(
      redirected.map(({ headers }) => headers.authorization),
      [undefined],
    );
  });

  it('ends redirects that do not', async () => {
    const host = await serve((request, response) => {
      response.writeHead(302, { location: request.url }).end();
      return true;
    });
    await assert.rejects(pull(host), { code: 'REGISTRY_ERROR', message: /redirects without end/ });
  });

  it('believes nothing that a digest does not confirm', async () => {
    const changing = async (digest: string, change: (bytes: Uint8Array) => Uint8Array) => {
      const bytes = [manifest, configuration, layer].find((it) => digestOf(it) === digest)!;
      const host = await serve((request, response) => {
        if (request.url?.endsWith(digest) !== true) return false;
        response.end(change(bytes));
        return true;
      });
      await assert.rejects(pull(host), { code: 'DIGEST_MISMATCH' });
    };
    const flip = (bytes: Uint8Array) => Buffer.concat([bytes.subarray(0, -1), Buffer.from('!')]);
    for (const bytes of [manifest, configuration, layer]) {
      await changing(digestOf(bytes), flip);
      await changing(digestOf(bytes), (it) => Buffer.concat([it, Buffer.from(' ')]));
    }
    await changing(digestOf(layer), (it) => it.subarray(0, -512));
    const host = await serve((request, response) => {
      if (request.url?.endsWith(digestOf(manifest)) !== true) return false;
      response.end(index);
      return true;
    });
    await assert.rejects(pull(host, digestOf(manifest)), { code: 'DIGEST_MISMATCH' });
  });

  it('says what is missing', async () => {
    const host = await serve(() => false);
    await assert.rejects(pull(host, 'v2'), { code: 'IMAGE_NOT_IN_REGISTRY' });
  });
});

describe('image references', () => {
  it('are read as Docker reads them', () => {
    const cases: readonly [string, string, string, string][] = [
      ['library/debian', 'docker.io', 'library/debian', 'latest'],
      ['docker.io/python:3.12-slim', 'docker.io', 'library/python', '3.12-slim'],
      ['localhost:5000/a/b:T', 'localhost:5000', 'a/b', 'T'],
      ['[::1]:5000/a', '[::1]:5000', 'a', 'latest'],
      [`ghcr.io/a/b:t@sha256:${'a'.repeat(64)}`, 'ghcr.io', 'a/b', `sha256:${'a'.repeat(64)}`],
    ];
    for (const [text, host, name, version] of cases) {
      assert.deepEqual(parseImageReference(text), { host, name, version });
    }
    assert.equal(storeNameOf(parseImageReference('x.io/a/Debian_x'.toLowerCase())), 'debian_x');
    assert.equal(storeNameOf(parseImageReference('x.io/a/python:3.12_A')), 'python-3.12_a');
    for (const text of [
      '',
      'a/B',
      'x.io/a:',
      'x.io/a@sha256:1',
      '../a',
      'x.io/../a',
      'x.io:p/a/b',
    ]) {
      assert.throws(() => parseImageReference(text), { code: 'IMAGE_REFERENCE_INVALID' }, text);
    }
  });
});

describe('ten thousand documents', () => {
  it('are read or refused with a code', () => {
    const own = fc.constantFrom(
      ...['schemaVersion', 'layers', 'manifests', 'config', 'digest', 'size', 'platform', 'os'],
      ...['rootfs', 'diff_ids', 'Env', 'Cmd', 'Labels', 'ExposedPorts', 'architecture', 'User'],
    );
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof(
        { depthSize: 'medium' },
        fc.constantFrom<unknown>(
          2,
          1,
          null,
          'amd64',
          'linux',
          digestOf(manifest),
          10,
          -1,
          1.5,
          true,
        ),
        fc.array(tie('value'), { maxLength: 3 }),
        fc.dictionary(own, tie('value'), { maxKeys: 6 }),
      ),
    }));
    const body = fc.oneof(
      value.map((it) => Buffer.from(JSON.stringify(it))),
      fc.uint8Array(),
      fc
        .dictionary(own, value)
        .map((it) => Buffer.from(JSON.stringify({ schemaVersion: 2, ...it }))),
    );
    fc.assert(
      fc.property(body, fc.constantFrom(readImageDocument, readConfiguration), (bytes, read) => {
        try {
          read(bytes);
        } catch (cause) {
          if (!(cause instanceof PandoError)) throw cause;
          assert.match(cause.code, /^(IMAGE_DOCUMENT_INVALID|PLATFORM_MISSING|IMAGE_FORMAT_OLD)$/);
        }
      }),
      { numRuns: 10_000 },
    );
  });
});
