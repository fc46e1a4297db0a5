import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { cacheDirectory, storeDirectory } from './directories.js';

describe('directories', () => {
  it('follow the environment in its order of precedence', () => {
    const HOME = '/home/u';
    assert.equal(storeDirectory({ HOME }), '/home/u/.local/share/pando/images');
    assert.equal(storeDirectory({ HOME, XDG_DATA_HOME: '/data' }), '/data/pando/images');
    assert.equal(
      storeDirectory({ HOME, XDG_DATA_HOME: 'data' }),
      '/home/u/.local/share/pando/images',
    );
    assert.equal(storeDirectory({ HOME, XDG_DATA_HOME: '/data', PANDO_STORE: '/s' }), '/s');
    assert.equal(cacheDirectory({ HOME }), '/home/u/.cache/pando');
    assert.equal(cacheDirectory({ HOME, XDG_CACHE_HOME: '/c' }), '/c/pando');
  });
});
