/**
 * The steps of a template's build, run in the sandbox that becomes the template: RUN, COPY, ENV, WORKDIR and USER
 * as E2B's template builder and Docker's "Dockerfile reference" have them, then the start command.
 */
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { posix } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { PandoError } from '../../error.js';
import type { ExecOptions, ExecOutput } from '../../sandbox/exec.js';
import type { HostedSandbox } from '../hosted-sandbox.js';
import { RequestError } from '../http.js';
import type { BuildState } from './template-store.js';

/** A step as clients send it. */
export interface BuildStep {
  readonly type: string;
  readonly args: readonly string[];
  /** Of COPY. */
  readonly filesHash: string | undefined;
}

/** Where the files of a COPY are before they get to their place. */
const STAGE = '/tmp/.pando-copy';
/** What the start command prints. */
const START_LOG = '/var/log/pando-start.log';
/** How long the ready command may fail, and how often it is asked, in milliseconds. */
const READY_LIMIT = 300_000;
const ASK_EVERY = 200;
const LINE_MAX = 4096;

/**
 * Docker's rules for COPY: what is in a folder goes into the target folder; a file gets the target's name, or goes
 * into the target when that is a folder or ends with a slash. A pattern's files go into the target folder.
 */
const COPY = `set -e
stage=$1; source=$2; target=$3; owner=$4; mode=$5
folder() { [ -d "$1" ] || { mkdir -p "$1"; chown "$owner" "$1"; }; }
cd "$stage"
chown -R "$owner" .
if [ -n "$mode" ]; then for entry in * .[!.]* ..?*; do [ ! -e "$entry" ] || chmod -R "$mode" "$entry"; done; fi
if [ -d "$source" ]; then
  folder "$target"; cd "$source"
  for entry in * .[!.]* ..?*; do [ ! -e "$entry" ] && [ ! -L "$entry" ] || cp -a "$entry" "$target"; done
elif [ -e "$source" ] || [ -L "$source" ]; then
  case $target in */) folder "$target";; *) folder "$(dirname "$target")";; esac
  cp -a "$source" "$target"
else
  folder "$target"; found=
  IFS=
  for entry in $source; do [ ! -e "$entry" ] || { found=1; cp -a "$entry" "$target"; }; done
  [ -n "$found" ] || { echo "no file $source" >&2; exit 1; }
fi`;

/** The start command goes on when this shell, and the connection that started it, have gone. */
const START = '"$0" -c "$1" > "$2" 2>&1 < /dev/null &';

async function isGzip(path: string): Promise<boolean> {
  const file = await open(path);
  try {
    const { buffer } = await file.read(Buffer.alloc(2), 0, 2, 0);
    return buffer.readUInt16BE(0) === 0x1f8b;
  } finally {
    await file.close();
  }
}

export class StepRunner {
  #env: Readonly<Record<string, string>>;
  #user: string;
  #cwd: string | undefined;
  #shell: readonly string[] | undefined;

  /**
   * @param archive the file of a COPY's archive
   * @param log hears what the steps print, a line at a time
   */
  constructor(
    private readonly hosted: HostedSandbox,
    state: BuildState,
    private readonly archive: (hash: string) => string | undefined,
    private readonly log: (line: string) => void,
  ) {
    this.#env = state.env;
    this.#user = state.user;
    this.#cwd = state.cwd;
  }

  /** What later commands get. */
  get state(): BuildState {
    const cwd = this.#cwd;
    return { env: this.#env, user: this.#user, ...(cwd !== undefined && { cwd }) };
  }

  /** @throws RequestError 400, PandoError GUEST_… */
  async run({ type, args, filesHash }: BuildStep): Promise<void> {
    const [first = '', second = '', third = '', fourth = ''] = args;
    if (type === 'RUN') await this.#command(first, second || this.#user);
    else if (type === 'COPY') await this.#copy(first, second, third, fourth, filesHash);
    else if (type === 'ENV') await this.#environment(args);
    else if (type === 'WORKDIR') await this.#folder(first);
    else if (type === 'USER') this.#user = (await this.hosted.users.find(first)).name;
    else throw new RequestError(400, `a step of the type ${type}`);
  }

  async #options(user: string): Promise<ExecOptions> {
    const { name, home } = await this.hosted.users.find(user);
    return { user: name, env: this.#env, cwd: this.#cwd ?? home };
  }

  /** Runs a script to its end. @throws RequestError 400 when it fails */
  async #script(argv: readonly string[], options: ExecOptions, what: string): Promise<void> {
    const exec = this.hosted.sandbox.exec(argv, options);
    const rest = { stdout: '', stderr: '' };
    for await (const { stream, data } of exec as AsyncIterable<ExecOutput>) {
      const lines = (rest[stream] + data.toString('latin1')).split('\n');
      rest[stream] = (lines.pop() ?? '').slice(-LINE_MAX);
      for (const line of lines) this.#say(line);
    }
    for (const line of Object.values(rest)) if (line !== '') this.#say(line);
    const { exitCode, signal } = await exec.exited;
    if (exitCode === 0) return;
    throw new RequestError(400, `${what}: ${signal ?? `exit status ${exitCode}`}`);
  }

  /** @param line in Latin-1: its bytes are UTF-8, which a piece of output may cut */
  #say(line: string): void {
    this.log(Buffer.from(line.slice(0, LINE_MAX), 'latin1').toString('utf8'));
  }

  /** The shell that E2B's templates have, or the one that every Linux has. */
  async #shellWords(script: string): Promise<string[]> {
    const { files } = this.hosted.sandbox;
    this.#shell ??= (await files.exists('/bin/bash'))
      ? ['/bin/bash', '-l', '-c']
      : ['/bin/sh', '-c'];
    return [...this.#shell, script];
  }

  async #command(script: string, user: string): Promise<void> {
    await this.#script(await this.#shellWords(script), await this.#options(user), script);
  }

  /** `$NAME` and `${NAME}` in a word, of the build's environment or the guest's. */
  async #expanded(word: string): Promise<string> {
    let expanded = '';
    let at = 0;
    for (const match of word.matchAll(/\$(?:(\w+)|\{(\w+)\})/g)) {
      const name = match[1] ?? match[2] ?? '';
      expanded += word.slice(at, match.index) + (await this.#variable(name));
      at = match.index + match[0].length;
    }
    return expanded + word.slice(at);
  }

  async #variable(name: string): Promise<string> {
    const options = await this.#options(this.#user);
    const { stdout } = await this.hosted.sandbox.exec(`printf %s "\${${name}}"`, options);
    return stdout;
  }

  async #environment(args: readonly string[]): Promise<void> {
    const added: [string, string][] = [];
    for (let at = 0; at + 1 < args.length; at += 2) {
      added.push([args[at] ?? '', await this.#expanded(args[at + 1] ?? '')]);
    }
    // Names are a client's; as data properties they are plain ones.
    this.#env = Object.fromEntries([...Object.entries(this.#env), ...added]);
  }

  async #absolute(path: string): Promise<string> {
    const { cwd = '/' } = await this.#options(this.#user);
    const expanded = await this.#expanded(path);
    const absolute = posix.resolve(cwd, expanded);
    return expanded.endsWith('/') && absolute !== '/' ? `${absolute}/` : absolute;
  }

  async #folder(path: string): Promise<void> {
    const folder = posix.normalize(await this.#absolute(path));
    const script = '[ -d "$1" ] || { mkdir -p "$1" && chown "$2" "$1"; }';
    const words = ['/bin/sh', '-c', script, 'sh', folder, this.#user];
    await this.#script(words, { user: '0' }, `WORKDIR ${path}`);
    this.#cwd = folder;
  }

  async #copy(
    source: string,
    target: string,
    owner: string,
    mode: string,
    hash: string | undefined,
  ): Promise<void> {
    const what = `COPY ${source} ${target}`;
    const archive = hash === undefined ? undefined : this.archive(hash);
    if (archive === undefined) throw new RequestError(400, `${what}: its files have not come`);
    const user = owner || this.#user;
    await this.hosted.users.find(user.split(':')[0]);
    const to = await this.#absolute(target);
    const root = { user: '0' };
    const { sandbox } = this.hosted;
    await sandbox.exec(['mkdir', '-p', STAGE], { ...root, check: true });
    try {
      const unpack = [
        'tar',
        '-x',
        ...((await isGzip(archive)) ? ['-z'] : []),
        '-f',
        '-',
        '-C',
        STAGE,
      ];
      await this.#script(unpack, { ...root, stdin: createReadStream(archive) }, what);
      const words = ['/bin/sh', '-c', COPY, 'sh', STAGE, source, to, user, mode];
      await this.#script(words, root, what);
    } finally {
      await sandbox.exec(['rm', '-rf', STAGE], root).then(undefined, () => undefined);
    }
  }

  /**
   * Starts what the template's sandboxes find running, and waits until it is ready.
   * @param command empty: nothing is started
   * @throws RequestError 400 when it does not get ready
   */
  async start(command: string, ready: string): Promise<void> {
    const options = await this.#options(this.#user);
    const { sandbox } = this.hosted;
    if (command !== '') {
      const log = `mkdir -p "$(dirname ${START_LOG})" && : > ${START_LOG} && chown "$1" ${START_LOG}`;
      const prepare = ['/bin/sh', '-c', log, 'sh', this.#user];
      await sandbox.exec(prepare, { user: '0', check: true });
      const shell = await this.#shellWords(START);
      const words = [...shell, shell[0] ?? '', command, START_LOG];
      await sandbox.exec(words, { ...options, check: true });
    }
    if (ready === '') return;
    const words = await this.#shellWords(ready);
    const deadline = performance.now() + READY_LIMIT;
    for (;;) {
      const { exitCode, stderr } = await sandbox.exec(words, options);
      if (exitCode === 0) break;
      if (performance.now() > deadline) {
        // Many ready commands need programs that small images lack.
        for (const line of stderr.split('\n')) if (line !== '') this.log(line.slice(0, LINE_MAX));
        if (command !== '') await this.#tail();
        throw new RequestError(400, `not ready after ${READY_LIMIT / 1000} s: ${ready}`);
      }
      await sleep(ASK_EVERY);
    }
  }

  /** The last of what the start command has printed. */
  async #tail(): Promise<void> {
    try {
      await this.#script(['tail', '-n', '20', START_LOG], { user: '0' }, 'tail');
    } catch (error) {
      // The build fails with why it was asked for.
      if (!(error instanceof RequestError) && !(error instanceof PandoError)) throw error;
    }
  }
}
