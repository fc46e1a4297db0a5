/** Users and groups of a guest, read from its /etc/passwd and /etc/group when they are first needed. */
import { posix } from 'node:path';
import type { Sandbox } from '../../sandbox/sandbox.js';
import { RequestError } from '../http.js';

export interface GuestUser {
  readonly name: string;
  readonly home: string;
  readonly uid: number;
  readonly gid: number;
}

/** The user that E2B's templates have, and that clients name. */
const CLIENT_USER = 'user';
/** The files are read again for a name that is missing, but not more often than this, in milliseconds. */
const READ_EVERY = 1000;

/** Makes the user as E2B's templates do; quick where there is one. */
const MAKE_USER = [
  `grep -q '^${CLIENT_USER}:' /etc/passwd && exit`,
  `echo '${CLIENT_USER}:x:1000:1000::/home/${CLIENT_USER}:/bin/sh' >> /etc/passwd`,
  `grep -q '^${CLIENT_USER}:' /etc/group || echo '${CLIENT_USER}:x:1000:' >> /etc/group`,
  `mkdir -p /home/${CLIENT_USER} && chown 1000:1000 /home/${CLIENT_USER}`,
].join('\n');

function fieldsOf(text: string): string[][] {
  return text.split('\n').map((line) => line.split(':'));
}

export class GuestUsers {
  #users = new Map<string, GuestUser>();
  #names = new Map<number, string>();
  #groups = new Map<number, string>();
  #readAt = Number.NEGATIVE_INFINITY;

  /** @param fallback the user of requests that name none */
  constructor(
    private readonly sandbox: Sandbox,
    private readonly fallback: string,
  ) {}

  async #read(): Promise<void> {
    if (performance.now() - this.#readAt < READ_EVERY) return;
    this.#readAt = performance.now();
    const text = async (path: string): Promise<string> =>
      (await this.sandbox.files.exists(path)) ? this.sandbox.files.readFile(path, 'utf8') : '';
    const users = fieldsOf(await text('/etc/passwd'));
    this.#users = new Map(
      users.map(([name = '', , uid, gid, , home = '/']) => [
        name,
        { name, home: home || '/', uid: Number(uid), gid: Number(gid) },
      ]),
    );
    this.#names = new Map(users.map(([name = '', , uid]) => [Number(uid), name]));
    const groups = fieldsOf(await text('/etc/group'));
    this.#groups = new Map(groups.map(([name = '', , gid]) => [Number(gid), name]));
  }

  /**
   * A user of the guest.
   * @param name of a client's request
   * @throws RequestError 401
   */
  async find(name: string | undefined): Promise<GuestUser> {
    const wanted = name === undefined || name === '' ? this.fallback : name;
    if (/^\d+$/.test(wanted)) return { name: wanted, home: '/', uid: Number(wanted), gid: 0 };
    if (!this.#users.has(wanted)) await this.#read();
    if (!this.#users.has(wanted) && wanted === CLIENT_USER) {
      await this.sandbox.exec(MAKE_USER, { user: '0', check: true });
      this.#readAt = Number.NEGATIVE_INFINITY;
      await this.#read();
    }
    const user = this.#users.get(wanted);
    if (user !== undefined) return user;
    // Images of a single program may have no list of users: this one the kernel itself knows.
    if (wanted === 'root') return { name: '0', home: '/', uid: 0, gid: 0 };
    throw new RequestError(401, `the guest has no user ${wanted}`);
  }

  /** An absolute path; a relative one, and `~`, begin at the user's home. */
  async path(path: string, user: string | undefined): Promise<string> {
    if (path.includes('\0')) throw new RequestError(400, 'a path with a zero byte');
    if (path.startsWith('/')) return posix.normalize(path);
    const { home } = await this.find(user);
    const below = path === '~' ? '' : path.replace(/^~\//, '');
    return posix.join(home, below);
  }

  /** Names of an owner, or numbers where the guest has no names. */
  async names(uid: number, gid: number): Promise<{ owner: string; group: string }> {
    if (!this.#names.has(uid) || !this.#groups.has(gid)) await this.#read();
    return {
      owner: this.#names.get(uid) ?? String(uid),
      group: this.#groups.get(gid) ?? String(gid),
    };
  }
}
