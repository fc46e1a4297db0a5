/**
 * Makes dist/bundles/: each program and thread of Pando as one file, which loads in a few milliseconds
 * where dist/ with its hundred files takes fifty, and the code that V8 compiled of it (launcher.cjs). To
 * have the code that a start runs, each is run here, with a guest of a few instructions. dist/
 * stays complete without: tests and the library run on it.
 */
import { fork } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { TRAINING_WORD, trainingKernel } from './training-kernel.mjs';

const scripts = dirname(fileURLToPath(import.meta.url));

/** Files of dist/ that processes start with. */
const PROGRAMS = ['cli/main.js', 'cli/run-main.js', 'fleet/vm-process.js'];

/** Files of dist/ that threads start with. */
const THREADS = [
  'run/wasm/worker.js',
  'run/kvm/vcpu-thread.js',
  'accel/wasm/translate/translator-worker.js',
];

const ENTRIES = [...PROGRAMS, ...THREADS];

/** A trained program shows nothing; it fails by its status. */
const QUIET = ['ignore', 'ignore', 'ignore', 'ipc'];

const TRAINING_KERNEL = 'training-kernel';
const TRAINING_SNAPSHOT = 'training';
/** The user's own image store does not hear of it. */
const TRAINING_STORE = 'training-store';

/** Names of a bundle's files, without their ends. */
function bundleOf(entry) {
  return basename(entry, '.js');
}

/** Makes a module's `new URL('./file', import.meta.url)` mean the same in a bundle. */
function relocate(dist, bundles) {
  const bundled = new Map(ENTRIES.map((entry) => [join(dist, entry), `./${bundleOf(entry)}.cjs`]));
  return {
    name: 'relocate',
    transform(code, id) {
      return code.replace(/new URL\('(\.[^']+)', import\.meta\.url\)/g, (_, file) => {
        const target = resolve(dirname(id), file);
        const place = bundled.get(target) ?? relative(bundles, target);
        return `new URL(${JSON.stringify(place)}, import.meta.url)`;
      });
    },
  };
}

/** What the command line's package loads for commands that are programs of their own, which Pando has none of. */
const EAGER = /^const childProcess = require\('node:child_process'\);$/m;

/** Child processes take Node 12 ms to load, and a run needs none. */
const withoutChildProcesses = {
  name: 'without-child-processes',
  transform(code, id) {
    if (!id.endsWith('commander/lib/command.js')) return null;
    if (!EAGER.test(code)) throw new Error(`${id}: loads child processes in another way`);
    return code
      .replace(EAGER, "const childProcess = () => require('node:child_process');")
      .replaceAll('childProcess.', 'childProcess().');
  },
};

/** Node's own modules are loaded when they are first used: some take milliseconds, and few are. */
function lazyBuiltins(code) {
  let lazy = code;
  const declaration = /^let (node_\w+) = require\("(node:[\w/]+)"\);$/gm;
  for (const [line, name, module] of code.matchAll(declaration)) {
    const uses = lazy.split(new RegExp(`\\b${name}\\b`)).length - 2;
    const members = lazy.split(new RegExp(`\\b${name}\\.`)).length - 1;
    if (uses !== members) throw new Error(`${module}: a use that is no member access`);
    const getter = `let ${name}_; const ${name} = () => (${name}_ ??= require("${module}"));`;
    lazy = lazy
      .replaceAll(
        new RegExp(`\\bnew ${name}\\.(\\w+)`, 'g'),
        (_, type) => `new (${name}().${type})`,
      )
      .replaceAll(new RegExp(`\\b${name}\\.`, 'g'), () => `${name}().`)
      .replace(line, () => getter);
  }
  return lazy;
}

/** What imports stand for in a bundle; a function of the sources with this name would take its place. */
const IMPORT = '__import';

/** What is read at each start is short: without spaces, with names that show in traces. */
const SHORT = { compress: false, mangle: { keepNames: true }, codegen: true };

/** A hash as the first line, and the bundle as a function's body. */
function finished(name, code, minify) {
  if (code.includes(IMPORT)) throw new Error(`${IMPORT} is a name of the sources, too`);
  const lazy = lazyBuiltins(code).replaceAll('await import(', `await ${IMPORT}(`);
  const whole = `(function (require, ${IMPORT}, module, __filename) {${lazy}\n});\n`;
  const { code: short, errors } = minify(name, whole, SHORT);
  if (errors.length > 0) throw new Error(`${name}: ${errors[0].message}`);
  const body = short.replace(
    /[^\0-\x7f]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return `// ${createHash('sha256').update(body).digest('hex')}\n${body}`;
}

/**
 * @param root the package's folder
 * @param rolldown the bundler
 */
export async function makeBundles(root, { rolldown, minifySync }) {
  const dist = join(root, 'dist');
  const bundles = join(dist, 'bundles');
  rmSync(bundles, { recursive: true, force: true });
  mkdirSync(bundles, { recursive: true });
  for (const entry of ENTRIES) {
    const build = await rolldown({
      input: join(dist, entry),
      platform: 'node',
      // The server and what it needs are loaded by the verbs that need it.
      external: [
        'koffi',
        'iced-x86',
        /^@connectrpc\//,
        /server\/(server|protocol\/process_pb)\.js$/,
      ],
      plugins: [relocate(dist, bundles), withoutChildProcesses],
    });
    const { output } = await build.generate({
      format: 'cjs',
      codeSplitting: false,
      comments: false,
    });
    await build.close();
    const [{ code }] = output;
    const file = `${bundleOf(entry)}.js`;
    writeFileSync(join(bundles, file), finished(file, code, minifySync));
  }
  try {
    await train(bundles);
  } catch (error) {
    // Bundles do without a cache, with more time at each start.
    console.error(`build: no code cache: ${error.message}`);
  }
  rmSync(join(bundles, TRAINING_KERNEL));
  rmSync(join(bundles, TRAINING_STORE), { recursive: true, force: true });
  placeLaunchers(bundles, []);
  writeFileSync(join(bundles, 'complete'), '');
}

/** Gives each bundle its launcher, and these entries one that writes the code cache at its end. */
function placeLaunchers(bundles, writers) {
  const launcher = readFileSync(join(scripts, 'launcher.cjs'), 'utf8');
  const writing = `${launcher}
process.on('exit', () => {
  const { writeFileSync } = require('node:fs');
  writeFileSync(\`\${base}.cache\`, Buffer.concat([Buffer.from(mark), script.createCachedData()]));
});
`;
  for (const entry of ENTRIES) {
    const text = writers.includes(entry) ? writing : launcher;
    writeFileSync(join(bundles, `${bundleOf(entry)}.cjs`), text);
  }
}

/**
 * Runs each bundle. A run adds to the cache of the one before. A cache is good for the V8 flags it was made under, and
 * the translator changes them: a program has loaded before that, so it is run without translation, and threads load
 * after it.
 */
async function train(bundles) {
  const kernel = join(bundles, TRAINING_KERNEL);
  writeFileSync(kernel, trainingKernel());
  const env = { ...process.env, PANDO_STORE: join(bundles, TRAINING_STORE) };
  const run = ['run', '--kernel', kernel, '--accel', 'wasm', '--serial', 'null'];
  const until = ['--until', TRAINING_WORD, '--timeout', '60'];
  const program = (entry, words, execArgv = []) =>
    ended(fork(entry, words, { stdio: QUIET, env, execArgv }));
  const main = join(bundles, 'run-main.cjs');
  const command = (words, execArgv) => program(main, [...run, ...until, ...words], execArgv);
  placeLaunchers(bundles, THREADS);
  // A thread that is ended with its process writes nothing.
  await command(['--tier', '1'], ['--require', join(scripts, 'await-threads.cjs')]);
  placeLaunchers(bundles, PROGRAMS);
  // What is not used again may be left out after some runs: what matters most comes last.
  await program(join(bundles, 'main.cjs'), ['--help']);
  await command(['--tier', '0', '--isolate', 'process']);
  await program(join(scripts, 'training-snapshot.mjs'), [
    kernel,
    TRAINING_SNAPSHOT,
    TRAINING_WORD,
    '0',
  ]);
  await program(main, ['run', '--snapshot', TRAINING_SNAPSHOT, '--serial', 'null', ...until]);
  await command(['--tier', '0']);
}

/** Waits for the end of a process that should end well. */
async function ended(child) {
  const [status, signal] = await once(child, 'exit');
  if (status !== 0) throw new Error(`${child.spawnargs.join(' ')}: ${signal ?? status}`);
}
