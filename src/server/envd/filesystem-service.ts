/** The service filesystem.Filesystem: what E2B's clients do with files, but for their bytes. */
import { posix } from 'node:path';
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { ConnectRouter, HandlerContext } from '@connectrpc/connect';
import { PandoError } from '../../error.js';
import type { FileChange } from '../../sandbox/files.js';
import { RequestError } from '../http.js';
import { EventType, Filesystem, type FilesystemEventSchema } from '../protocol/filesystem_pb.js';
import { asConnectErrors, keepAliveOf, sandboxOf, userOf } from './calls.js';
import { entryInfo } from './entry-info.js';
import { makeOwned } from './ownership.js';
import { Subscription } from './subscription.js';

/** Events that wait for a client before the guest's own queue fills. */
const QUEUE = 256;
const DEPTH_MAX = 64;

const EVENTS = new Map<FileChange['type'], EventType>([
  ['create', EventType.CREATE],
  ['write', EventType.WRITE],
  ['remove', EventType.REMOVE],
  ['rename', EventType.RENAME],
  ['attributes', EventType.CHMOD],
]);

type EventInit = MessageInitShape<typeof FilesystemEventSchema>;

function eventOf({ type, path }: FileChange): EventInit {
  return { name: path, type: EVENTS.get(type) ?? EventType.UNSPECIFIED };
}

function pathOf(path: string, context: HandlerContext): Promise<string> {
  if (path === '') throw new RequestError(400, 'a request without a path');
  return sandboxOf(context).users.path(path, userOf(context));
}

function isMissing(error: unknown): boolean {
  return error instanceof PandoError && error.code === 'GUEST_ENOENT';
}

async function info(path: string, context: HandlerContext) {
  const hosted = sandboxOf(context);
  return entryInfo(hosted, path, await hosted.sandbox.files.lstat(path));
}

/** @throws RequestError 400 when it is no folder, PandoError GUEST_ENOENT */
async function folderOf(path: string, context: HandlerContext): Promise<string> {
  const folder = await pathOf(path, context);
  const { kind } = await sandboxOf(context).sandbox.files.stat(folder);
  if (kind !== 'directory') throw new RequestError(400, `${folder} is not a directory`);
  return folder;
}

/** Changes in a folder with signs of life between them, from when it resolves until the client goes. */
async function* watched(
  folder: string,
  recursive: boolean,
  context: HandlerContext,
): AsyncGenerator<FileChange | 'idle', void, void> {
  const { files } = sandboxOf(context).sandbox;
  const stop = new AbortController();
  const end = (): void => stop.abort();
  const queue = new Subscription<FileChange>(QUEUE);
  context.signal.addEventListener('abort', end, { once: true });
  const changes = await files.watch(folder, { recursive, signal: stop.signal });
  const pump = async (): Promise<void> => {
    for await (const change of changes) await queue.put(change);
  };
  try {
    pump().then(
      () => queue.end(),
      (error: unknown) => queue.end(error as Error),
    );
    // The first is the sign that it has begun.
    yield 'idle';
    for (;;) {
      const change = await queue.next(keepAliveOf(context));
      if (change === undefined) break;
      yield change;
    }
    context.signal.throwIfAborted();
  } finally {
    context.signal.removeEventListener('abort', end);
    end();
    queue.end();
  }
}

export function addFilesystemService(router: ConnectRouter): void {
  router.service(
    Filesystem,
    asConnectErrors<typeof Filesystem>({
      async stat({ path }, context) {
        return { entry: await info(await pathOf(path, context), context) };
      },

      async makeDir(request, context) {
        const { files } = sandboxOf(context).sandbox;
        const path = await pathOf(request.path, context);
        const there = await files.stat(path).catch((error: unknown) => {
          if (isMissing(error)) return undefined;
          throw error;
        });
        if (there?.kind === 'directory') throw new RequestError(409, `${path} is there already`);
        if (there !== undefined) throw new RequestError(400, `${path} is there, and no directory`);
        await makeOwned(sandboxOf(context), path, userOf(context), () =>
          files.mkdir(path, { recursive: true }),
        );
        return { entry: await info(path, context) };
      },

      async move({ source, destination }, context) {
        const { files } = sandboxOf(context).sandbox;
        const from = await pathOf(source, context);
        const to = await pathOf(destination, context);
        await files.lstat(from);
        await files.mkdir(posix.dirname(to), { recursive: true });
        await files.rename(from, to);
        return { entry: await info(to, context) };
      },

      async listDir({ path, depth }, context) {
        if (depth > DEPTH_MAX) throw new RequestError(400, `a depth of more than ${DEPTH_MAX}`);
        const hosted = sandboxOf(context);
        const folder = await folderOf(path, context);
        const entries = await hosted.sandbox.files.readdir(folder, { depth: depth || 1 });
        const infos = [];
        for (const entry of entries) {
          infos.push(await entryInfo(hosted, posix.join(folder, entry.path), entry));
        }
        return { entries: infos };
      },

      async remove({ path }, context) {
        const target = await pathOf(path, context);
        if (target === '/') throw new RequestError(400, 'the root folder cannot be removed');
        try {
          await sandboxOf(context).sandbox.files.rm(target, { recursive: true });
        } catch (error) {
          if (!isMissing(error)) throw error;
        }
        return {};
      },

      async *watchDir(request, context) {
        const folder = await folderOf(request.path, context);
        let begun = false;
        for await (const change of watched(folder, request.recursive, context)) {
          if (change === 'idle') {
            const value = {};
            const name = begun ? ('keepalive' as const) : ('start' as const);
            begun = true;
            yield { event: { case: name, value } };
          } else if (EVENTS.has(change.type)) {
            const value = eventOf(change);
            if (request.includeEntry) {
              const path = posix.join(folder, change.path);
              const entry = await info(path, context).catch(() => undefined);
              if (entry !== undefined) value.entry = entry;
            }
            yield { event: { case: 'filesystem' as const, value } };
          }
        }
      },

      async createWatcher(request, context) {
        const hosted = sandboxOf(context);
        const folder = await folderOf(request.path, context);
        const { recursive } = request;
        const watcherId = await hosted.watchers.add((signal) =>
          hosted.sandbox.files.watch(folder, { recursive, signal }),
        );
        return { watcherId };
      },

      getWatcherEvents({ watcherId }, context) {
        const changes = sandboxOf(context).watchers.take(watcherId);
        return { events: changes.filter(({ type }) => EVENTS.has(type)).map(eventOf) };
      },

      removeWatcher({ watcherId }, context) {
        sandboxOf(context).watchers.remove(watcherId);
        return {};
      },
    }),
  );
}
