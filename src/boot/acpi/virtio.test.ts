import assert from 'node:assert/strict';
import { test } from 'node:test';
import { virtioMmioDevice } from './virtio.js';

test('a virtio device has Linux’s hardware ID, its registers and an edge interrupt', () => {
  const aml = virtioMmioDevice(11, { address: 0xfeb0b000, length: 0x1000, gsi: 16 });
  const hex = Buffer.from(aml).toString('hex');
  assert.ok(aml[0] === 0x5b && aml[1] === 0x82, 'Device');
  assert.ok(hex.includes(Buffer.from('VR0B').toString('hex')));
  assert.ok(
    hex.includes(
      `${Buffer.from('_HID').toString('hex')}0d${Buffer.from('LNRO0005\0').toString('hex')}`,
    ),
  );
  assert.ok(hex.includes(`${Buffer.from('_UID').toString('hex')}0a0b`));
  assert.ok(hex.includes(`${Buffer.from('_CCA').toString('hex')}01`));
  // Memory32Fixed: read and write, base, length; extended interrupt: consumer, edge, active high.
  assert.ok(hex.includes('8609000100b0b0fe00100000' + '8906000301' + '10000000' + '7900'));
});
