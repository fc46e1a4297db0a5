import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withTerminalSize } from './terminal-size.js';

const SCREEN = { rows: 50, columns: 132 };
const SIZE = 'systemd.tty.rows.ttyS0=50 systemd.tty.columns.ttyS0=132';

test('a serial console gets the size of the terminal, before the words for init', () => {
  assert.equal(withTerminalSize('console=ttyS0', SCREEN), `console=ttyS0 ${SIZE}`);
  assert.equal(
    withTerminalSize('console=ttyS0,115200 quiet -- x', SCREEN),
    `console=ttyS0,115200 quiet ${SIZE} -- x`,
  );
});

test('other consoles, sizes of the user and terminals without a size change nothing', () => {
  const mine = 'console=ttyS0 systemd.tty.rows.ttyS0=10';
  assert.equal(withTerminalSize(mine, SCREEN), mine);
  assert.equal(withTerminalSize('console=tty0', SCREEN), 'console=tty0');
  assert.equal(withTerminalSize('', SCREEN), '');
  assert.equal(withTerminalSize('console=ttyS0', { rows: 0, columns: 0 }), 'console=ttyS0');
});
