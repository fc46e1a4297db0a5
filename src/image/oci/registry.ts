/**
 * Pulls from a registry (OCI Distribution Specification, "Pull"; Docker Registry, "Token Authentication
 * Specification" and "OAuth2 Token Authentication").
 */
import { PandoError } from '../../error.js';
import { JsonFields } from '../json-fields.js';
import { sha256 } from '../store.js';
import { type Credentials, findCredentials } from './credentials.js';
import { type Descriptor, DOCUMENT_LIMIT, DOCUMENT_TYPES, isDigest } from './documents.js';
import { HttpClient, type HttpOptions } from './http.js';
import type { ImageSource } from './image-source.js';
import {
  credentialKeys,
  formatImageReference,
  type ImageReference,
  registryUrl,
} from './reference.js';

const TOKEN_LIMIT = 1 << 20;

/** A challenge of WWW-Authenticate (RFC 9110, 11.6.1): the scheme and its parameters. */
function parseChallenge(header: string): { scheme: string; parameters: Map<string, string> } {
  const [, scheme = '', rest = ''] = /^\s*(\w+)\s*(.*)$/s.exec(header) ?? [];
  const pairs = rest.matchAll(/(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))/g);
  const parameters = [...pairs].map(([, name, quoted, plain]): [string, string] => [
    name!.toLowerCase(),
    quoted?.replace(/\\(.)/g, '$1') ?? plain!,
  ]);
  return { scheme: scheme.toLowerCase(), parameters: new Map(parameters) };
}

function basic(credentials: Extract<Credentials, { kind: 'password' }>): string {
  const pair = `${credentials.user}:${credentials.password}`;
  return `Basic ${Buffer.from(pair).toString('base64')}`;
}

/** One image of one registry. */
export class RegistrySource implements ImageSource {
  readonly reference: string;
  private readonly http: HttpClient;
  private readonly base: string;
  private authorization: string | undefined;
  private credentials: Promise<Credentials | undefined> | undefined;
  /** Documents by their digest: the one that was resolved need not be fetched again. */
  private readonly documents = new Map<string, Uint8Array>();

  constructor(
    private readonly image: ImageReference,
    options: HttpOptions = {},
  ) {
    this.reference = formatImageReference(image);
    this.http = new HttpClient(options);
    this.base = `${registryUrl(image)}/v2/${image.name}`;
  }

  private headers(accept: readonly string[]): Record<string, string> {
    const headers: Record<string, string> = { 'user-agent': 'pando' };
    if (accept.length > 0) headers.accept = accept.join(', ');
    if (this.authorization !== undefined) headers.authorization = this.authorization;
    return headers;
  }

  /** Gets what a registry asks for in its 401. */
  private async authenticate(challenge: string): Promise<void> {
    const { scheme, parameters } = parseChallenge(challenge);
    this.credentials ??= findCredentials(credentialKeys(this.image));
    const credentials = await this.credentials;
    if (scheme === 'bearer') {
      this.authorization = `Bearer ${await this.token(parameters, credentials)}`;
    } else if (scheme === 'basic' && credentials?.kind === 'password') {
      this.authorization = basic(credentials);
    } else throw this.denied(credentials);
  }

  private async token(
    parameters: ReadonlyMap<string, string>,
    credentials: Credentials | undefined,
  ): Promise<string> {
    const realm = parameters.get('realm') ?? '';
    const service = parameters.get('service') ?? '';
    const scope = parameters.get('scope') ?? `repository:${this.image.name}:pull`;
    if (!URL.canParse(realm)) throw this.broken(`realm ${JSON.stringify(realm)}`);
    const url = new URL(realm);
    // A password goes out encrypted, or stays on this host.
    if (url.protocol !== 'https:' && this.base.startsWith('https:')) {
      throw this.broken(`a realm without TLS, ${realm}`);
    }
    const query = new URLSearchParams({ service, scope });
    const form = { 'content-type': 'application/x-www-form-urlencoded' };
    let answer: { readonly status: number; readonly body: Uint8Array };
    if (credentials?.kind === 'identity') {
      query.set('grant_type', 'refresh_token');
      query.set('refresh_token', credentials.token);
      query.set('client_id', 'pando');
      const body = query.toString();
      answer = await this.http.get(
        { url: url.href, method: 'POST', body, headers: () => form },
        TOKEN_LIMIT,
      );
    } else {
      for (const [name, value] of query) url.searchParams.set(name, value);
      const headers = credentials === undefined ? {} : { authorization: basic(credentials) };
      answer = await this.http.get({ url: url.href, headers: () => ({ ...headers }) }, TOKEN_LIMIT);
    }
    if (answer.status !== 200) throw this.denied(credentials);
    const fields = JsonFields.parse(Buffer.from(answer.body).toString('utf8'), (field, expected) =>
      this.broken(`a token whose ${field || 'answer'} is not ${expected}`),
    );
    return fields.text(fields.has('token') ? 'token' : 'access_token');
  }

  private broken(what: string): PandoError {
    return new PandoError('REGISTRY_ERROR', `registry of ${this.reference}: ${what}`);
  }

  private denied(credentials: Credentials | undefined): PandoError {
    const who =
      credentials === undefined ? 'without credentials' : 'with the credentials there are';
    return new PandoError('REGISTRY_DENIED', `${this.reference}: refused ${who}`, {
      remedy: '`docker login` keeps credentials where they are found; or the image is not there',
    });
  }

  /** The error for an answer that is not what was asked for. */
  private failed(status: number): PandoError {
    if (status === 401 || status === 403) return this.denied(undefined);
    if (status !== 404) return this.broken(`status ${status}`);
    return new PandoError('IMAGE_NOT_IN_REGISTRY', `the registry has no ${this.reference}`, {
      remedy: 'check the name and the tag',
    });
  }

  /** @param path what is wanted, below the image's name */
  private async fetchDocument(path: string): Promise<Uint8Array> {
    const accept = path.startsWith('manifests/') ? DOCUMENT_TYPES : [];
    const request = { url: `${this.base}/${path}`, headers: () => this.headers(accept) };
    let answer = await this.http.get(request, DOCUMENT_LIMIT);
    if (answer.status === 401) {
      await this.authenticate(answer.headers.get('www-authenticate') ?? '');
      answer = await this.http.get(request, DOCUMENT_LIMIT);
    }
    if (answer.status !== 200) throw this.failed(answer.status);
    return answer.body;
  }

  async resolve(): Promise<Descriptor> {
    const { version } = this.image;
    const bytes = await this.fetchDocument(`manifests/${version}`);
    const digest = isDigest(version) ? version : `sha256:${sha256(bytes)}`;
    this.documents.set(digest, bytes);
    return { mediaType: '', digest, size: bytes.length };
  }

  async document({ digest, mediaType }: Descriptor): Promise<Uint8Array> {
    const known = this.documents.get(digest);
    if (known !== undefined) return known;
    const kind = DOCUMENT_TYPES.includes(mediaType) ? 'manifests' : 'blobs';
    return this.fetchDocument(`${kind}/${digest}`);
  }

  layer({ digest }: Descriptor): AsyncIterable<Uint8Array> {
    const request = { url: `${this.base}/blobs/${digest}`, headers: () => this.headers([]) };
    return this.http.stream(request, async (response, failures) => {
      // A token lasts for minutes, a layer may take longer: each stretch may ask for a new one.
      if (response.status !== 401 || failures > 0) return this.failed(response.status);
      await this.authenticate(response.headers.get('www-authenticate') ?? '');
      return undefined;
    });
  }

  async close(): Promise<void> {
    this.documents.clear();
  }
}
