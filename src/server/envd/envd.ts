/** What a sandbox answers on E2B's port 49983: the services, the files, its health and figures. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createContextValues } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import type { HostedSandbox } from '../hosted-sandbox.js';
import { header, RequestError, sendJson } from '../http.js';
import { sameSecret } from '../keys.js';
import type { ServerLimits } from '../options.js';
import { SANDBOX } from './calls.js';
import { download, upload } from './file-transfer.js';
import { addFilesystemService } from './filesystem-service.js';
import { guestFigures } from './guest-figures.js';
import { addProcessService } from './process-service.js';
import { isSigned } from './signature.js';

/** The version of envd whose interface this is: what clients ask of later ones, they do not ask here. */
export const ENVD_VERSION = '0.5.7';

type Operation = 'read' | 'write';

function operationOf(request: IncomingMessage): Operation | undefined {
  if (request.method === 'GET' || request.method === 'HEAD') return 'read';
  return request.method === 'POST' ? 'write' : undefined;
}

export class Envd {
  readonly #sandboxes = new WeakMap<IncomingMessage, HostedSandbox>();
  readonly #services: (request: IncomingMessage, response: ServerResponse) => void;

  constructor(private readonly limits: ServerLimits) {
    this.#services = connectNodeAdapter({
      routes: (router) => {
        addProcessService(router);
        addFilesystemService(router);
      },
      grpc: false,
      grpcWeb: false,
      readMaxBytes: limits.body,
      contextValues: (request) =>
        createContextValues().set(SANDBOX, this.#sandboxes.get(request as IncomingMessage)),
    });
  }

  /** Whether a request is for a file of a sandbox, by a URL that the sandbox's owner has signed. */
  signedFor(hosted: HostedSandbox, url: URL, request: IncomingMessage): boolean {
    const operation = operationOf(request);
    return operation !== undefined && isSigned(hosted.accessToken, operation, url.searchParams);
  }

  /** Answers a request to a sandbox. @throws RequestError, PandoError GUEST_… */
  async answer(
    hosted: HostedSandbox,
    url: URL,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    if (url.pathname === '/health') {
      response.writeHead(204).end();
      return;
    }
    const query = url.searchParams;
    const operation = operationOf(request);
    const files = url.pathname === '/files' && operation !== undefined;
    const token = header(request, 'x-access-token');
    const known = token !== undefined && sameSecret(token, hosted.accessToken);
    if (!known && !(files && this.signedFor(hosted, url, request))) {
      throw new RequestError(401, 'the access token of the sandbox is missing, or not valid');
    }
    if (files && operation === 'read') await download(hosted, query, response);
    else if (files) await upload(hosted, query, request, response, this.limits.upload);
    else if (url.pathname === '/metrics') {
      sendJson(response, 200, await guestFigures(hosted.sandbox));
    } else if (url.pathname === '/envs') sendJson(response, 200, hosted.options.env);
    else {
      this.#sandboxes.set(request, hosted);
      this.#services(request, response);
    }
  }
}
