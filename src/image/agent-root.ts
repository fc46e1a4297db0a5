/** An image's root with the agent in it: one more layer, of one file. */
import { createHash } from 'node:crypto';
import { agentProgram } from './agent.js';
import { storeRoot } from './oci/build.js';
import { LayerWriter } from './oci/layer.js';
import type { ImageStore, RootImage } from './store.js';

/** The agent's name in the root: it needs no folder that an image may have as a link. */
export const ROOT_AGENT = '.pando-agent';

async function agentLayer(store: ImageStore) {
  const program = agentProgram();
  const layer = await LayerWriter.open(store);
  try {
    const entry = {
      kind: 'file',
      name: ROOT_AGENT,
      linkName: '',
      permissions: 0o755,
      uid: 0,
      gid: 0,
      mtime: 0,
      mtimeNanoseconds: 0,
      size: program.length,
      major: 0,
      minor: 0,
      xattrs: new Map(),
      offset: 0,
    } as const;
    await layer.add(entry, [program]);
    const stored = await layer.finish();
    const digest = `sha256:${createHash('sha256').update(program).digest('hex')}`;
    return { digest, diffId: digest, ...stored };
  } catch (cause) {
    await layer.abort();
    throw cause;
  }
}

/** The same root with the agent, for a VM that is made now: no manifest names its objects. */
export async function withAgent(store: ImageStore, root: RootImage): Promise<RootImage> {
  const layers = [...(root.manifest.root?.layers ?? []), await agentLayer(store)];
  const { metadata, data } = await storeRoot(store, layers, root.config);
  const parts = [metadata, ...data];
  return {
    ...root,
    paths: parts.map((part) => store.objectPath(part)),
    bytes: parts.reduce((sum, { size }) => sum + size, 0),
  };
}
