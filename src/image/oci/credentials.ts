/**
 * Credentials for registries as Docker keeps them: `config.json` in `$DOCKER_CONFIG` or `~/.docker`, with
 * entries of its own, or helpers that are asked (docker login, "Credential stores" and "Credential
 * helper protocol").
 */
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { PandoError, reasonOf } from '../../error.js';
import type { Environment } from '../directories.js';
import { JsonFields } from '../json-fields.js';

/** A name with its password, or a token to exchange for others. */
export type Credentials =
  | { readonly kind: 'password'; readonly user: string; readonly password: string }
  | { readonly kind: 'identity'; readonly token: string };

/** The user name with which a helper says that its secret is a token. */
const TOKEN_USER = '<token>';
const HELPER_OUTPUT_LIMIT = 1 << 20;

function secret(user: string, password: string): Credentials {
  return user === TOKEN_USER
    ? { kind: 'identity', token: password }
    : { kind: 'password', user, password };
}

/** Asks `docker-credential-NAME get`; undefined when it has nothing for this key. */
async function askHelper(name: string, key: string): Promise<Credentials | undefined> {
  const command = `docker-credential-${name}`;
  if (!/^[\w.-]+$/.test(name)) {
    throw new PandoError('CREDENTIALS_INVALID', `${JSON.stringify(name)} names no helper`);
  }
  const child = spawn(command, ['get'], { stdio: ['pipe', 'pipe', 'ignore'] });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    output += piece;
    if (output.length > HELPER_OUTPUT_LIMIT) child.kill();
  });
  // One that ends without reading is judged by its status.
  child.stdin.on('error', () => undefined);
  child.stdin.end(`${key}\n`);
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on('error', (cause) =>
      reject(
        new PandoError('CREDENTIAL_HELPER_FAILED', `${command} cannot be run: ${cause.message}`, {
          remedy: 'install it, or take it out of Docker’s config.json',
          cause,
        }),
      ),
    );
    child.on('close', resolve);
  });
  if (status !== 0) return undefined;
  const fields = JsonFields.parse(
    output,
    (field, expected) =>
      new PandoError(
        'CREDENTIAL_HELPER_FAILED',
        `${command}: ${field || 'its answer'} is not ${expected}`,
      ),
  );
  return secret(fields.text('Username'), fields.text('Secret'));
}

/** An entry of `auths`. */
function entryCredentials(entry: JsonFields): Credentials | undefined {
  if (entry.has('identitytoken')) return { kind: 'identity', token: entry.text('identitytoken') };
  if (entry.has('auth')) {
    const [, user, password] =
      /^([^:]*):(.*)$/s.exec(Buffer.from(entry.text('auth'), 'base64').toString('utf8')) ?? [];
    if (user !== undefined && password !== undefined && user !== '') return secret(user, password);
  }
  if (entry.has('username') && entry.has('password')) {
    return secret(entry.text('username'), entry.text('password'));
  }
  return undefined;
}

/**
 * The user's credentials for a registry.
 * @param keys what they may be kept under, the best first
 * @returns undefined when there are none: the registry is asked without
 * @throws PandoError CREDENTIALS_INVALID, CREDENTIAL_HELPER_FAILED
 */
export async function findCredentials(
  keys: readonly string[],
  env: Environment = process.env,
): Promise<Credentials | undefined> {
  const path = join(env.DOCKER_CONFIG || join(env.HOME || homedir(), '.docker'), 'config.json');
  const text = await readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT' || cause.code === 'ENOTDIR') return undefined;
    throw new PandoError('CREDENTIALS_INVALID', `${path}: ${reasonOf(cause)}`, {
      cause,
    });
  });
  if (text === undefined) return undefined;
  const fields = JsonFields.parse(
    text,
    (field, expected) =>
      new PandoError('CREDENTIALS_INVALID', `${path}: ${field || 'the whole'} is not ${expected}`),
  );
  const helpers = fields.has('credHelpers') ? fields.object('credHelpers') : undefined;
  const store = fields.has('credsStore') ? fields.text('credsStore') : undefined;
  const entries = fields.has('auths') ? fields.object('auths') : undefined;
  for (const key of keys) {
    const helper = helpers?.has(key) ? helpers.text(key) : store;
    const found = helper === undefined ? undefined : await askHelper(helper, key);
    if (found !== undefined) return found;
    const kept = entries?.has(key) ? entryCredentials(entries.object(key)) : undefined;
    if (kept !== undefined) return kept;
  }
  return undefined;
}
