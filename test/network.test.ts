/** Debian in a VM on a network: an address by DHCP, a server of the host that a rule names, and no other. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { after, before, test } from 'node:test';
import type { Image } from 'pando';
import { ensureImage } from 'pando';
import { bootToShell } from './testing/boot.js';

const page = randomBytes(8 << 20);
const digest = createHash('sha256').update(page).digest('hex');
const server = createServer((request, response) => {
  if (request.method === 'POST') {
    const hash = createHash('sha256');
    request.on('data', (chunk: Buffer) => hash.update(chunk));
    request.on('end', () => response.end(hash.digest('hex')));
  } else response.end(page);
});
const secret = createServer((_request, response) => response.end('secret'));
const portOf = (listening: typeof server): number => (listening.address() as AddressInfo).port;
let image: Image;

before(async () => {
  for (const each of [server, secret]) {
    each.listen(0, '127.0.0.1');
    await once(each, 'listening');
  }
  image = await ensureImage('debian', { progress: () => {}, modules: true });
});

after(() => {
  server.close();
  secret.close();
});

test('a guest fetches what a rule names and nothing else; a published port leads in', async () => {
  const { vm, console } = await bootToShell(image, {
    accelerator: 'wasm',
    memory: 256 << 20,
    modules: image.modulesPath,
    net: {
      mode: 'user',
      allow: [`127.0.0.1:${portOf(server)}`],
      publish: ['127.0.0.1:0:80'],
    },
  });
  await using _ = vm;
  assert.match(await console.run('ip -o -4 addr show eth0'), /inet 10\.0\.2\.2\/24/);
  assert.match(await console.run('cat /etc/resolv.conf'), /nameserver 10\.0\.2\.1/);
  const fetched = await console.run(`wget -q -O - http://gateway:${portOf(server)}/ | sha256sum`);
  // The kernel may print a line of its own in between.
  assert.ok(fetched.includes(digest), fetched);

  const refused = await console.run(`wget -q -O - http://10.0.2.1:${portOf(secret)}/ 2>&1 || true`);
  assert.match(refused, /refused/);
  const metadata = await console.run('nc 169.254.169.254 80 </dev/null 2>&1 || true');
  assert.match(metadata, /refused/);
  assert.match(await console.run('nslookup tunnel.example.org 2>&1 || true'), /REFUSED|refused/);
  assert.match(await console.run('ping -c 1 -W 60 gateway'), /1 packets received/);

  await console.run('head -c 3000000 /dev/urandom > /tmp/up; mkdir -p /tmp/www');
  const [sum = ''] = /[0-9a-f]{64}/.exec(await console.run('sha256sum /tmp/up')) ?? [];
  const length = 'Content-Length: 3000000';
  const posted = await console.run(
    `(printf 'POST / HTTP/1.0\\r\\n${length}\\r\\n\\r\\n'; cat /tmp/up) | nc gateway ${portOf(server)}`,
  );
  assert.match(posted, new RegExp(`${sum}$`, 'm'));

  await console.run('cp /tmp/up /tmp/www/up; httpd -p 80 -h /tmp/www');
  const host = connect({ host: '127.0.0.1', port: vm.published[0]?.hostPort ?? 0 });
  host.write('GET /up HTTP/1.0\r\n\r\n');
  const chunks: Buffer[] = [];
  host.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(host, 'end');
  const answer = Buffer.concat(chunks);
  const body = answer.subarray(answer.indexOf('\r\n\r\n') + 4);
  assert.equal(createHash('sha256').update(body).digest('hex'), sum);

  // A machine that starts again has its device, its link and its address again.
  console.send('reboot -f\n');
  await console.expect('Pando: user space is up');
  await console.prompt();
  const again = await console.run(`wget -q -O - http://gateway:${portOf(server)}/ | sha256sum`);
  assert.ok(again.includes(digest), again);

  const statistics = vm.networkStatistics();
  assert.equal(statistics?.tcpIn, 1);
  assert.ok((statistics?.refused ?? 0) >= 3);
  assert.equal(statistics?.rejected, 0);
});
