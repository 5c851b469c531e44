// Everything around a browser: sandbox and broker as processes, pages on two origins, the recordings, an identity
// provider's key; and a Chromium that can be asked what it sent and said.

import { spawn } from 'node:child_process';
import { generateKeyPairSync, randomInt, sign } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, request as requested } from 'node:http';
import { createServer as createSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { extname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target');
const recordings = join(root, 'recordings');
/** Where pictures are kept. */
export const artefacts = join(target, 'browser');

const ISSUER = 'https://login.example.com';
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.flac': 'audio/flac', '.mp3': 'audio/mpeg', '.wav': 'audio/wav' };

/** What transcribing a recording must give, channel by channel. */
export const textsOf = (name) => JSON.parse(readFileSync(join(recordings, 'expected.json'), 'utf8'))[name].texts;

/** Sandbox and broker; `more` is added to the broker's configuration. With a `path`, a proxy has it below that. */
export async function start({ pending = 0.3, running = 1.5, more = '', path = '' } = {}) {
  const work = mkdtempSync(join(tmpdir(), 'valet-browser-'));
  const stops = [() => rmSync(work, { recursive: true, force: true })];
  const stop = async () => {
    for (const end of stops.reverse()) await end();
  };
  try {
    const files = await serve(recordings, stops);
    const pages = join(root, 'web/test/browser/page');
    const [page, foreign] = [await serve(pages, stops), await serve(pages, stops)];
    const options = ['--listen', '127.0.0.1:0', '--pending', pending, '--running', running];
    const sandbox = run('valet-sandbox', options, {}, join(work, 'sandbox.log'), stops);
    const base = (await sandbox.says(/DASHSCOPE_HTTP_BASE_URL=(\S+)/))[1];
    const port = await freePort();
    const broker = path ? `${await forward(path, [port], stops)}${path}` : `http://127.0.0.1:${port}`;
    const issuer = identityProvider();
    const brokers = await replicas(port, work, stops);
    for (const { port, config, audit, more: shared } of brokers) {
      writeFileSync(config, configuration({ broker, port, audit, page, base, issuer, work, more: `${more}\n${shared}` }));
    }
    const begin = async () => {
      const began = [];
      // One after another: the first makes the keys that all have.
      for (const { port, config, ready, log } of brokers) {
        rmSync(ready, { force: true });
        const process = run('valet-server', ['serve', '--config', config, '--ready-file', ready], { KEY: 'sk-sandbox' }, log, stops);
        await process.does(() => existsSync(ready) && readFileSync(ready, 'utf8').endsWith('\n'), 'serves');
        // It serves before it has found the Redis that it shares.
        await process.does(() => isReady(port), 'is ready');
        began.push(process);
      }
      return began;
    };
    let processes = await begin();
    /** Kills the broker, and has it back after a while. */
    const crash = async (milliseconds) => {
      await Promise.all(processes.map((process) => process.kill()));
      await new Promise((resolve) => setTimeout(resolve, milliseconds));
      processes = await begin();
    };
    const read = (what) => brokers.map((broker) => (existsSync(broker[what]) ? readFileSync(broker[what], 'utf8') : '')).join('');
    /** How many submits have reached the upstream. */
    const submits = async () => {
      const journal = await fetch(`${new URL(base).origin}/_sandbox/journal?operation=submit`);
      return (await journal.json()).entries.length;
    };
    /** How long tasks are pending and running that are submitted from now on, in seconds. */
    const taskTime = async (pending, running) => {
      const body = JSON.stringify({ pending_ms: pending * 1000, running_ms: running * 1000 });
      const headers = { 'Content-Type': 'application/json' };
      const answer = await fetch(`${new URL(base).origin}/_sandbox/task-time`, { method: 'PUT', headers, body });
      if (!answer.ok) throw new Error(await answer.text());
    };
    /** Has tasks take long enough to be seen at each stage of theirs while something goes on. */
    const slowly = async (going) => {
      await taskTime(1, 6);
      await going().finally(() => taskTime(pending, running));
    };
    return { broker, crash, files, foreign, issuer, page, read, slowly, stop, submits };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Where the broker is and writes; of as many as `VALET_TEST_REPLICAS` says, which share a Redis and take turns at its port. */
async function replicas(port, work, stops) {
  const count = Number(process.env.VALET_TEST_REPLICAS ?? 1);
  const place = (name, port, more) => {
    const [config, ready, log, audit] = ['toml', 'ready', 'log', 'jsonl'].map((kind) => join(work, `${name}.${kind}`));
    return { port, more, config, ready, log, audit };
  };
  if (count === 1) return [place('broker', port, '')];
  const redis = await freePort();
  const options = ['--bind', '127.0.0.1', '--port', redis, '--save', '', '--dir', work];
  await run('/usr/bin/redis-server', options, {}, join(work, 'redis.log'), stops).says(/Ready to accept connections/);
  const sealing = join(work, 'sealing-key');
  writeFileSync(sealing, 'a key for tests alone, of 32 characters');
  // The machine may be busy: what these tests are not about is not to come between.
  const patience = 'connect_milliseconds = 10000\nresponse_milliseconds = 10000';
  const shared = `[shared]\nurl = "redis://127.0.0.1:${redis}"\nkeys = [{ id = "1", file = "${sealing}" }]\n${patience}`;
  const places = [];
  for (let number = 1; number <= count; number++) places.push(place(`broker-${number}`, await freePort(), shared));
  await forward('', places.map(({ port }) => port), stops, port);
  return places;
}

async function isReady(port) {
  const answer = await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined);
  return (await answer?.text()) === '{"status":"ready"}';
}

const configuration = ({ broker, port, audit, page, base, issuer, work, more }) => `
listen = "127.0.0.1:${port}"
public_url = "${broker}"
[audit]
path = "${audit}"
[relay]
state = "${work}"
private_hosts = true
[playground]
sign_in = ["demo"]
[upstreams.sandbox]
base_url = "${base}"
keys = [{ env = "KEY" }]

[apps.demo]
mode = "relay"
${issuer.rules('demo')}

# As a page's app, but for its recordings: those of this machine have no host that could be named.
[apps.page]
mode = "relay"
origins = ["${page}"]
results = "bearer"
models = ["fun-asr"]
${issuer.rules('page')}

[apps.strict]
kind = "browser"
mode = "relay"
origins = ["${page}"]
file_hosts = ["files.example.com"]
rate = { per_second = 1, burst = 2 }
${issuer.rules('strict')}
${more}
`;

/** An identity provider, as far as the broker sees it: a key, and ID tokens for audiences. */
function identityProvider() {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const { x } = publicKey.export({ format: 'jwk' });
  const jwk = `{ kty = "OKP", crv = "Ed25519", alg = "EdDSA", kid = "k1", x = "${x}" }`;
  const rules = (audience) => `[[apps.${audience}.subject_tokens]]
issuer = "${ISSUER}"
audience = "${audience}"
single_tenant = true
jwks = { keys = [${jwk}] }`;
  const idToken = (audience, seconds = 600) => {
    const encode = (part) => Buffer.from(JSON.stringify(part)).toString('base64url');
    const exp = Math.floor(Date.now() / 1000) + seconds;
    const signed = [{ alg: 'EdDSA', typ: 'JWT', kid: 'k1' }, { iss: ISSUER, aud: audience, sub: 'alice', exp }].map(encode).join('.');
    return `${signed}.${sign(null, Buffer.from(signed), privateKey).toString('base64url')}`;
  };
  return { rules, idToken };
}

/** A process, and what it says. */
function run(name, options, environment, log, stops) {
  const child = spawn(resolve(target, 'debug', name), options.map(String), { env: { ...process.env, ...environment } });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data) => {
      said += data;
      writeFileSync(log, said);
    });
  }
  const ended = new Promise((resolve) => child.once('exit', resolve));
  stops.push(() => {
    child.kill('SIGTERM');
    return ended;
  });
  const kill = () => {
    child.kill('SIGKILL');
    return ended;
  };
  /** Waits until it has done something, or has ended instead. */
  const does = async (isDone, what) => {
    const isOver = () => child.exitCode !== null || child.signalCode !== null;
    await until(async () => (await isDone()) || isOver(), `${name} ${what}`);
    if (isOver()) throw new Error(`${name} ended: ${said}`);
  };
  const says = async (pattern) => {
    await does(() => pattern.test(said), `says ${pattern}`);
    return pattern.exec(said);
  };
  return { does, kill, says };
}

/** Serves a folder's files, in parts too, from an origin of its own; the shipped module as `/valet.js`. */
async function serve(folder, stops) {
  const server = createServer(({ url, headers }, response) => {
    const name = decodeURIComponent(new URL(url, 'http://x').pathname).slice(1);
    const path = name === 'valet.js' ? join(root, 'web/dist/valet.js') : join(folder, name);
    if (name.includes('..') || !existsSync(path)) return response.writeHead(404).end();
    const whole = readFileSync(path);
    const range = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? '');
    const [first, last] = range ? [Number(range[1]), Number(range[2] || whole.length - 1)] : [0, whole.length - 1];
    response.writeHead(range ? 206 : 200, {
      'Accept-Ranges': 'bytes',
      'Content-Length': last + 1 - first,
      'Content-Type': TYPES[extname(name)] ?? 'application/octet-stream',
      ...(range && { 'Content-Range': `bytes ${first}-${last}/${whole.length}` }),
    });
    response.end(whole.subarray(first, last + 1));
  });
  return listening(server, stops);
}

/** Passes on what is asked below a path, to these ports in turn, as nginx does with `location /path/ { proxy_pass
 * http://broker/; }`. */
function forward(path, ports, stops, at = 0) {
  let turn = 0;
  const server = createServer((request, response) => {
    const { method, url, headers } = request;
    if (!url.startsWith(`${path}/`)) return response.writeHead(404).end();
    const port = ports[turn++ % ports.length];
    const there = requested({ port, host: '127.0.0.1', method, headers, path: url.slice(path.length) }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    there.on('error', () => response.destroy());
    request.pipe(there);
  });
  return listening(server, stops, at);
}

async function listening(server, stops, port = 0) {
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  stops.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${server.address().port}`;
}

/** A free port below those that systems give to connections that go out: none takes it before it is bound, or bound again. */
async function freePort() {
  for (let tried = 0; tried < 1000; tried++) {
    const port = randomInt(20_000, 32_000);
    const socket = createSocket();
    const isFree = await new Promise((resolve) => {
      socket.once('error', () => resolve(false));
      socket.listen(port, '127.0.0.1', () => socket.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
  throw new Error('a thousand ports are taken');
}

export async function until(holds, what) {
  for (let look = 0; look < 600; look++) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`waited in vain: ${what}`);
}

/** A Chromium with a profile of its own. */
export async function browse() {
  mkdirSync(artefacts, { recursive: true });
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--mute-audio',
    ],
  });
  return browser;
}

/** A page in a context of its own, and everything that it sent, got and said. */
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ acceptDownloads: true, ...options });
  const page = await context.newPage();
  const seen = { requests: [], said: [], answers: [], shown: new Set() };
  page.on('request', (request) => {
    seen.requests.push(request);
    const bearer = request.headers().authorization;
    if (bearer && request.url().includes('/api/v1/')) seen.shown.add(bearer.replace(/^Bearer /, ''));
  });
  page.on('console', (message) => seen.said.push(message.text()));
  page.on('pageerror', (error) => seen.said.push(`${error}`));
  page.on('response', (response) => {
    if (/\/v1\/tokens$|sign-in$/.test(response.url())) seen.answers.push(response.text().catch(() => ''));
  });
  await page.goto(url);
  return { context, page, seen };
}

/** Everything that the browser keeps for a page. */
export async function kept({ context, page }) {
  const stored = await page.evaluate(async () => ({
    local: { ...localStorage },
    session: { ...sessionStorage },
    databases: await indexedDB.databases(),
    caches: await caches.keys(),
    workers: (await navigator.serviceWorker.getRegistrations()).length,
    cookie: document.cookie,
    url: location.href,
    title: document.title,
  }));
  return JSON.stringify([stored, await context.cookies()]);
}

/** The tokens that were handed out to a page. A browser may have dropped the answer that one came in: then it is known
 * by the page's showing it at the relay. */
export async function handedOut({ answers, shown }) {
  const bodies = (await Promise.all(answers)).filter(Boolean).map((text) => JSON.parse(text));
  return [...new Set([...bodies.map(({ token }) => token).filter(Boolean), ...shown])];
}
