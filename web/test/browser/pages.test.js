// Pages on origins of their own, in a real browser, against the real broker.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { browse, handedOut, kept, open, start, textsOf, until } from './stage.js';

let [stage, browser] = [];
before(async () => {
  [stage, browser] = await Promise.all([start(), browse()]);
});
after(async () => {
  await browser?.close();
  await stage?.stop();
});

async function openAs(origin, audience, at = stage, idToken = at.issuer.idToken(audience)) {
  const opened = await open(browser, `${origin}/index.html`);
  await opened.page.waitForFunction(() => window.page);
  await opened.page.evaluate(([broker, token]) => window.page.signIn(broker, token), [at.broker, idToken]);
  const transcribe = (request, time) => opened.page.evaluate(([request, time]) => window.page.transcribe(request, time), [request, time]);
  return { ...opened, idToken, transcribe };
}

const url = (name) => `${stage.files}/${name}`;

test('a page of a listed origin transcribes real recordings with its user’s ID token alone', async () => {
  const opened = await openAs(stage.page, 'page');
  const names = ['market.wav', 'weather.flac', 'silence.wav', 'broken.mp3'];
  let outcome;
  await stage.slowly(async () => (outcome = await opened.transcribe({ urls: names.map(url) })));
  const { seen, files, error } = outcome;
  assert.equal(error, undefined, JSON.stringify(error));
  assert.deepEqual([...new Set(seen)], ['PENDING', 'RUNNING', 'SUCCEEDED']);
  const textOf = ({ transcript }) => transcript.transcripts.map(({ text }) => text.trim()).join('\n');
  assert.equal(textOf(files[0]), textsOf('market.wav')[0]);
  assert.equal(textOf(files[1]), textsOf('weather.flac')[0]);
  assert.match(files[0].srt, /^1\n00:00:0\d,\d{3} --> 00:00:0\d,\d{3}\n/);
  assert.equal(textOf(files[2]), '', 'no speech');
  assert(files[3].failure.code, 'one bad file fails alone');

  // Tokens: in headers, and nowhere else.
  const secrets = [opened.idToken, ...(await handedOut(opened.seen))];
  assert(secrets.length >= 2 && secrets.every((secret) => secret.length > 100), `${secrets.length} tokens`);
  const { requests, said } = opened.seen;
  const results = requests.filter((request) => request.url().includes('/api/v1/results/'));
  assert(results.length >= 2);
  for (const request of results) assert((await request.allHeaders()).authorization, 'the owner’s token is shown');
  const places = {
    URLs: requests.map((request) => request.url()).join('\n'),
    storage: await kept(opened),
    console: said.join('\n'),
    'the broker’s log': stage.read('log'),
    'the audit trail': stage.read('audit'),
  };
  for (const [place, text] of Object.entries(places)) {
    // The signature alone would be enough.
    for (const secret of secrets) assert(!text.includes(secret.split('.')[2]), place);
  }
  assert.equal(said.join('\n'), '', 'nothing is amiss');
  await until(() => /"door":"submit".*"subject":"alice"/.test(stage.read('audit')), 'it is recorded');
  await opened.context.close();
});

test('a page of another origin gets nothing, and nothing of its gets through', async () => {
  const before = await stage.submits();
  assert(before > 0);
  const opened = await openAs(stage.foreign, 'page');
  const { error } = await opened.transcribe({ urls: [url('market.wav')] }, 3000);
  assert(error, 'it is refused');
  assert.deepEqual([(await handedOut(opened.seen)).length, await stage.submits()], [0, before]);
  // Even with a relay token that it has from elsewhere, and that opens the relay.
  const asPage = (bearer) => ({ Authorization: `Bearer ${bearer}`, Origin: stage.page });
  const exchange = await fetch(`${stage.broker}/v1/tokens`, { method: 'POST', headers: asPage(opened.idToken) });
  const { token } = await exchange.json();
  const path = `${stage.broker}/api/v1/tasks/`;
  assert.equal((await fetch(path, { headers: asPage(token) })).status, 200);
  const asked = await opened.page.evaluate(async ([path, token]) => {
    const ask = (init) => fetch(path, init).then(({ type }) => type, (error) => error.name);
    return [await ask({ headers: { Authorization: `Bearer ${token}` } }), await ask({}), await ask({ mode: 'no-cors' })];
  }, [path, token]);
  assert.deepEqual(asked, ['TypeError', 'TypeError', 'opaque']);
  assert(opened.seen.said.some((text) => text.includes('CORS')), opened.seen.said.join());
  await opened.context.close();
});

test('a page can read why it is refused', async () => {
  const forged = stage.issuer.idToken('page').replace(/[^.]+$/, 'c2ln');
  for (const [what, audience, token, request, expected] of [
    ['a forged ID token', 'page', forged, {}, { kind: 'Credentials', status: 401, code: 'invalid_subject_token' }],
    ['an ID token that has ended', 'page', stage.issuer.idToken('page', -60), {}, { kind: 'Credentials', status: 401 }],
    ['another model', 'page', undefined, { model: 'fun-asr-mtl' }, { kind: 'Refused', status: 403, code: 'Model.AccessDenied' }],
    ['a host that is not allowed', 'strict', undefined, {}, { kind: 'Refused', status: 403, code: 'AccessDenied' }],
    ['a parameter', 'page', undefined, { speakerCount: 1 }, { kind: 'Refused', status: 400, code: 'InvalidParameter' }],
  ]) {
    const opened = await openAs(stage.page, audience, stage, token);
    const { error } = await opened.transcribe({ urls: [url('market.wav')], ...request });
    const found = Object.fromEntries(Object.keys(expected).map((name) => [name, error[name]]));
    assert.deepEqual(found, expected, `${what}: ${JSON.stringify(error)}`);
    assert(error.message.length > 10 && error.requestId, what);
    await opened.context.close();
  }
});

test('a page can read how long to wait, and from which request a refusal is', async () => {
  const opened = await openAs(stage.page, 'strict');
  const read = await opened.page.evaluate(async ([broker, token]) => {
    const ask = () => fetch(`${broker}/v1/tokens`, { method: 'POST', headers: { Authorization: `Bearer ${token}` } });
    const answers = await Promise.all(Array.from({ length: 8 }, ask));
    const refused = answers.find(({ status }) => status === 429);
    return ['retry-after', 'x-request-id', 'set-cookie'].map((name) => refused.headers.get(name));
  }, [stage.broker, opened.idToken]);
  assert.equal(read[0], '1');
  assert.match(read[1], /^[0-9a-f-]+$/);
  assert.equal(read[2], null);
  await opened.context.close();
});

test('ten waits of a page take one connection', async () => {
  const opened = await openAs(stage.page, 'page');
  const transcribing = () => Array.from({ length: 10 }, () => opened.transcribe({ urls: [url('silence.wav'), url('market.wav')] }));
  let outcomes;
  await stage.slowly(async () => (outcomes = await Promise.all(transcribing())));
  for (const { files, error } of outcomes) assert(files?.[1].transcript, JSON.stringify(error));
  const asked = opened.seen.requests.filter((request) => /\/tasks\//.test(request.url()));
  const spans = asked.map((request) => request.timing()).map(({ startTime, responseEnd }) => [startTime, startTime + responseEnd]);
  const most = Math.max(...spans.map(([at]) => spans.filter(([begin, end]) => begin <= at && at < end).length));
  assert(most <= 2, `${most} at a time`);
  assert(asked.some((request) => request.postDataJSON()?.task_ids.length > 5), 'many in one request');
  await opened.context.close();
});

test('a recording outlives the tokens that it is asked for by', async () => {
  // The shortest life that there is, and a recording that takes longer.
  const more = '[tokens]\nlifetimes = [15]\n';
  const slow = await start({ running: 20, more });
  try {
    const opened = await openAs(slow.page, 'page', slow);
    const { files, error } = await opened.transcribe({ urls: [`${slow.files}/market.wav`] });
    assert(files?.[0].transcript, JSON.stringify(error));
    const tokens = new Set(await handedOut(opened.seen));
    assert(tokens.size >= 2, `${tokens.size} tokens`);
    assert.equal(opened.seen.said.join('\n'), '', 'none was used after its end');
    await opened.context.close();
  } finally {
    await slow.stop();
  }
});

test('a broker that crashes and comes back costs a page nothing but time', async () => {
  const slow = await start({ running: 4 });
  try {
    const opened = await openAs(slow.page, 'page', slow);
    const transcribing = opened.transcribe({ urls: [`${slow.files}/market.wav`] });
    await until(() => opened.seen.requests.some((request) => request.url().includes('/tasks/')), 'it waits');
    await slow.crash(1500);
    const { files, error } = await transcribing;
    assert(files?.[0].transcript, JSON.stringify(error));
    assert.equal(await slow.submits(), 1);
    await opened.context.close();
  } finally {
    await slow.stop();
  }
});

test('a page that gives up is told at once', async () => {
  const opened = await openAs(stage.page, 'page');
  // No answer comes: there is nothing else that could tell it.
  await opened.page.route('**/tasks/*', () => {});
  const { error, late } = await opened.transcribe({ urls: [url('market.wav')] }, 500);
  assert.equal(error.name, 'TimeoutError');
  assert(late < 1000, `${late} ms after it gave up`);
  await opened.context.close();
});
