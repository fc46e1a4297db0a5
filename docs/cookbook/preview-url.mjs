/** Serves a page in a sandbox, and gives it a URL that a browser of this machine can open. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Sandbox } from 'pando';

const sandbox = await Sandbox.create();
await sandbox.files.writeFile('/srv/index.html', '<h1>Hello from the sandbox</h1>\n');
await sandbox.exec('httpd -p 8080 -h /srv', { check: true });

const url = await sandbox.url(8080);

/** Connections are refused until the server listens. */
async function page() {
  try {
    return await fetch(url);
  } catch {
    await sleep(20);
    return page();
  }
}

console.log((await (await page()).text()).trim());
await sandbox.close();

// <h1>Hello from the sandbox</h1>
