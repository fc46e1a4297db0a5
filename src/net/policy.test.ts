import assert from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import { test } from 'node:test';
import { PandoError } from '../error.js';
import { parseIpv4 } from './address.js';
import { Policy, type PolicyOptions } from './policy.js';
import { parseRule } from './rule.js';

function allows(
  options: PolicyOptions,
  address: string,
  port = 80,
  names: readonly string[] = [],
): boolean {
  return new Policy(options).decide({ address: parseIpv4(address)!, port, names }).allowed;
}

/** Addresses that nothing but their own name opens. */
const GUARDED = [
  '127.0.0.1',
  '127.255.255.254',
  '169.254.169.254',
  '169.254.1.1',
  '100.100.100.200',
];
/** Addresses that nothing opens. */
const NOBODY = [
  '0.0.0.0',
  '0.1.2.3',
  '224.0.0.1',
  '239.255.255.250',
  '240.0.0.1',
  '255.255.255.255',
];

function hostAddress(): string | undefined {
  return Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .find(({ family, internal }) => family === 'IPv4' && !internal)?.address;
}

test('without rules the Internet and private networks are open, the host is not', () => {
  assert.equal(allows({}, '93.184.216.34'), true);
  assert.equal(allows({}, '10.1.2.3'), true);
  for (const address of [...GUARDED, ...NOBODY]) assert.equal(allows({}, address), false, address);
});

test('a wide rule does not open what is guarded; a rule inside does', () => {
  for (const address of GUARDED) {
    assert.equal(allows({ allow: ['0.0.0.0/0'] }, address), false, address);
    assert.equal(allows({ allow: [address] }, address), true, address);
    assert.equal(allows({ allow: [`${address}:80`] }, address, 81), false, address);
  }
  for (const address of NOBODY) assert.equal(allows({ allow: [address] }, address), false, address);
  assert.equal(allows({ allow: ['127.0.0.0/8'] }, '127.0.0.1'), true);
  assert.equal(allows({ allow: ['126.0.0.0/7'] }, '127.0.0.1'), false);
});

test("the host's own addresses open by name only", (t) => {
  const address = hostAddress();
  if (address === undefined) {
    t.skip('the host has no address but loopback');
    return;
  }
  assert.equal(allows({}, address), false);
  assert.equal(allows({ allow: ['0.0.0.0/0'] }, address), false);
  assert.equal(allows({ allow: [address] }, address), true);
});

test('with an allow list everything else is refused, DNS elsewhere too', () => {
  const allow = ['192.0.2.0/24', 'example.org', '*.example.net:443'];
  assert.equal(allows({ allow }, '192.0.2.7'), true);
  assert.equal(allows({ allow }, '192.0.2.7', 53), false);
  assert.equal(allows({ allow }, '192.0.2.7', 853), false);
  assert.equal(allows({ allow: ['192.0.2.0/24:53'] }, '192.0.2.7', 53), true);
  assert.equal(allows({ allow }, '198.51.100.1'), false);
  assert.equal(allows({ allow }, '198.51.100.1', 80, ['example.org']), true);
  assert.equal(allows({ allow }, '198.51.100.1', 80, ['www.example.org']), false);
  assert.equal(allows({ allow }, '198.51.100.1', 443, ['a.b.example.net']), true);
  assert.equal(allows({ allow }, '198.51.100.1', 80, ['a.b.example.net']), false);
  assert.equal(allows({ allow }, '198.51.100.1', 443, ['example.net']), false);
  assert.equal(allows({ allow }, '198.51.100.1', 443, ['badexample.net']), false);
});

test('a name that leads to the host or to a private network opens nothing', () => {
  const allow = ['example.org'];
  for (const address of ['10.0.0.1', '192.168.1.1', '172.31.0.1', '100.64.0.1', ...GUARDED]) {
    assert.equal(allows({ allow }, address, 80, ['example.org']), false, address);
  }
  assert.equal(
    allows({ allow: ['example.org', '10.0.0.1'] }, '10.0.0.1', 80, ['example.org']),
    true,
  );
});

test('deny goes before allow, by network and by name', () => {
  assert.equal(allows({ deny: ['93.184.0.0/16'] }, '93.184.216.34'), false);
  assert.equal(allows({ deny: ['93.184.0.0/16:25'] }, '93.184.216.34', 80), true);
  assert.equal(
    allows({ allow: ['0.0.0.0/0'], deny: ['*.ads.test'] }, '1.2.3.4', 80, ['x.ads.test']),
    false,
  );
  assert.equal(allows({ allow: ['127.0.0.1'], deny: ['127.0.0.0/8'] }, '127.0.0.1'), false);
});

test('names may be looked up that a rule could open', () => {
  assert.equal(new Policy({}).mayResolve('anything.test'), true);
  assert.equal(new Policy({ allow: ['0.0.0.0/0'] }).mayResolve('anything.test'), true);
  assert.equal(new Policy({ allow: ['0.0.0.0/0:443'] }).mayResolve('anything.test'), false);
  assert.equal(new Policy({ deny: ['bad.test'] }).mayResolve('bad.test'), false);
  const policy = new Policy({ allow: ['*.example.org', '10.0.0.0/8'] });
  assert.equal(policy.mayResolve('www.example.org'), true);
  assert.equal(policy.mayResolve('secret-bytes.tunnel.test'), false);
});

test('an address has one form, however it is written', () => {
  const spellings = ['127.1', '0x7f000001', '2130706433', '0177.0.0.1', '::ffff:127.0.0.1'];
  for (const text of [...spellings, '::ffff:7f00:1', '0:0:0:0:0:FFFF:7f00:0001']) {
    assert.equal(parseIpv4(text), 0x7f000001, text);
    assert.deepEqual(parseRule(text).network, { base: 0x7f000001, prefix: 32 }, text);
  }
  assert.deepEqual(parseRule('[::ffff:10.0.0.0]/104').network, { base: 0x0a000000, prefix: 8 });
  assert.deepEqual(parseRule('10.1.2.3/8:80-90').network, { base: 0x0a000000, prefix: 8 });
  assert.equal(parseRule('Bücher.Example.').domain, 'xn--bcher-kva.example');
});

test('rules that mean nothing are refused with their code', () => {
  const bad = ['', '10.0.0.0/33', '256.1.1.1', '1.2.3.4.5', 'exa mple.org', '*', '*.', 'a..b'];
  const more = [
    '::1',
    'fe80::/10',
    'example.org:0',
    'example.org:99999',
    'x:90-80',
    '10.0.0.0/8/8',
  ];
  for (const text of [...bad, ...more, `${'a'.repeat(64)}.org`, 'example.org/24']) {
    assert.throws(
      () => parseRule(text),
      (error) => error instanceof PandoError && error.code === 'NET_RULE_INVALID',
      text,
    );
  }
});
