// The client against a scripted relay: tokens, submits, waits, results, errors.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { system } from '../src/clock.js';
import { Client, ValetError } from '../src/index.js';
import { BASE, BROKER, Relay, refused, rejection, settled, task, tokens } from './relay.js';

const [TOKENS, SUBMIT] = ['POST /v1/tokens', 'POST /api/v1/services/audio/asr/transcription'];
const REQUEST = { urls: ['https://files.example.com/a.wav'] };

function setUp(routes, { token = () => 'id-token' } = {}) {
  const relay = new Relay({ [TOKENS]: tokens(), ...routes });
  return { relay, clock: relay.clock, client: new Client({ broker: `${BROKER}/`, token, clock: relay.clock }) };
}

test('an ID token is exchanged at the broker, and the relay gets what came of it', async () => {
  const { relay, client } = setUp({ [SUBMIT]: () => ({ body: task('t-1', 'PENDING') }) });
  const submitted = await client.submit({ ...REQUEST, diarization: true, speakerCount: 2, languageHints: ['en'] });
  assert.deepEqual([submitted.id, submitted.status, submitted.isFinal], ['t-1', 'PENDING', false]);
  const [exchange, submit] = relay.calls;
  assert.equal(exchange.headers.get('authorization'), 'Bearer id-token');
  assert.equal(submit.headers.get('authorization'), 'Bearer relay-token-1');
  assert.equal(submit.headers.get('x-dashscope-async'), 'enable');
  assert.deepEqual(submit.body, {
    model: 'fun-asr',
    input: { file_urls: REQUEST.urls },
    parameters: { diarization_enabled: true, speaker_count: 2, language_hints: ['en'] },
  });
  for (const { init, url } of relay.calls) {
    assert.deepEqual([init.credentials, init.cache, init.redirect], ['omit', 'no-store', 'error']);
    assert(!url.includes('token-'), url);
  }
});

test("the broker's own answer, from the page's backend, is used as it is", async () => {
  const given = { access_token: 'from-the-backend', base_url: BASE, expires_in: 60 };
  const { relay, client } = setUp({ 'GET /api/v1/tasks/*': () => ({ body: task('t-1', 'RUNNING') }) }, { token: () => given });
  await client.fetch('t-1');
  assert.deepEqual(relay.calls.map(({ kind }) => kind), ['GET /api/v1/tasks/t-1']);
  assert.equal(relay.calls[0].headers.get('authorization'), 'Bearer from-the-backend');
});

test('tokens go to https alone, or to this machine', async () => {
  for (const base of ['http://valet.example.com/api/v1', 'http://localhost.evil.com/', 'ftp://x', 'nowhere', undefined]) {
    const token = () => ({ token: 'secret', base_url: base, expires_in: 60 });
    const { relay, client } = setUp({}, { token });
    const error = await rejection(client.fetch('t-1'));
    assert.equal(error.kind, 'Configuration', base);
    assert.deepEqual(relay.calls, []);
  }
  assert.throws(() => new Client({ token: () => '', broker: 'http://valet.example.com' }), { kind: 'Configuration' });
  for (const near of ['http://localhost:8080', 'http://127.0.0.1:8080', 'http://[::1]:8080', 'https://x']) {
    new Client({ token: () => '', broker: near });
  }
});

test('one token at a time is fetched, however many ask, and it is renewed before its end', async () => {
  const { relay, clock, client } = setUp({ 'GET /api/v1/tasks/*': () => ({ body: task('t-1', 'RUNNING') }) });
  await Promise.all([1, 2, 3].map(() => client.fetch('t-1')));
  assert.equal(relay.of(TOKENS).length, 1);
  await clock.advance(39_000);
  await client.fetch('t-1');
  assert.equal(relay.of(TOKENS).length, 1);
  // From two thirds of its life on it is renewed behind the call, which has the token at hand.
  await clock.advance(1_000);
  await client.fetch('t-1');
  assert.equal(relay.calls.at(-1).headers.get('authorization'), 'Bearer relay-token-1');
  await settled();
  assert.equal(relay.of(TOKENS).length, 2);
  await client.fetch('t-1');
  assert.equal(relay.calls.at(-1).headers.get('authorization'), 'Bearer relay-token-2');
});

test('a live token goes on when its renewal fails, and one that has ended is not used', async () => {
  const { relay, clock, client } = setUp({ 'GET /api/v1/tasks/*': () => ({ body: task('t-1', 'RUNNING') }) });
  await client.fetch('t-1');
  relay.routes[TOKENS] = () => refused(401, 'invalid_subject_token');
  await clock.advance(55_000);
  await client.fetch('t-1');
  assert.equal(relay.calls.at(-1).headers.get('authorization'), 'Bearer relay-token-1');
  await clock.advance(4_000);
  const error = await rejection(client.fetch('t-1'));
  assert.deepEqual([error.kind, error.code, error.status, error.requestId], ['Credentials', 'invalid_subject_token', 401, 'r-2']);
  assert(!error.message.includes('id-token'));
});

test('a refused token is renewed once', async () => {
  const { relay, client } = setUp({
    'GET /api/v1/tasks/*': ({ headers }) =>
      headers.get('authorization').endsWith('-1') ? refused(401, 'InvalidApiKey') : { body: task('t-1', 'RUNNING') },
  });
  await client.fetch('t-1');
  assert.equal(relay.of(TOKENS).length, 2);
  relay.routes['GET /api/v1/tasks/*'] = () => refused(401, 'InvalidApiKey');
  assert.equal((await rejection(client.fetch('t-1'))).kind, 'Credentials');
  assert.equal(relay.of(TOKENS).length, 3);
});

test('a submit is sent again after a refusal that passes, always by the same key', async () => {
  const answers = [refused(429, 'Throttling.RateQuota', { 'Retry-After': '2' }), refused(503, 'SystemError'), { body: task('t-1', 'PENDING') }];
  const { relay, clock, client } = setUp({ [SUBMIT]: () => answers.shift() });
  const submitted = client.submit(REQUEST);
  await clock.advance(1_999);
  assert.equal(relay.of(SUBMIT).length, 1, 'Retry-After is obeyed');
  await clock.advance(2_001);
  assert.equal((await submitted).id, 't-1');
  const keys = relay.of(SUBMIT).map(({ headers }) => headers.get('idempotency-key'));
  assert.equal(keys.length, 3);
  assert(keys[0].length > 20 && keys.every((key) => key === keys[0]), keys.join());
});

test('a submit that may have arrived is not sent again, and can be, by its key', async () => {
  const doubtful = [new TypeError('Failed to fetch'), refused(500, 'InternalError'), { body: 'no JSON' }];
  for (const answer of doubtful) {
    const { relay, clock, client } = setUp({ [SUBMIT]: () => answer });
    const refusing = rejection(client.submit(REQUEST));
    await clock.advance(120_000);
    const error = await refusing;
    assert.deepEqual([error.kind, error.isRetryable, relay.of(SUBMIT).length], ['Ambiguous', false, 1], error.message);
    assert.match(error.message, /; submit it again with the same idempotencyKey$/);
    relay.routes[SUBMIT] = () => ({ body: task('t-1', 'PENDING') });
    await client.submit(REQUEST, { idempotencyKey: error.idempotencyKey });
    const [first, second] = relay.of(SUBMIT).map(({ headers }) => headers.get('idempotency-key'));
    assert.equal(first, second);
  }
});

test('a submit that the relay lost sight of is not said to be safe to send again', async () => {
  const { relay, client } = setUp({ [SUBMIT]: () => refused(409, 'SubmitOutcomeUnknown') });
  const error = await rejection(client.submit(REQUEST, { idempotencyKey: 'mine' }));
  assert.deepEqual([error.kind, error.code, error.idempotencyKey], ['Ambiguous', 'SubmitOutcomeUnknown', 'mine']);
  assert.match(error.message, /^it may have been submitted \(SubmitOutcomeUnknown\.\); submit it again with a new idempotencyKey, and it may be billed twice$/);
  // Asked again by the same key it is not billed, and not known either.
  const again = await rejection(client.submit(REQUEST, { idempotencyKey: error.idempotencyKey }));
  assert.deepEqual([again.message, relay.of(SUBMIT).length], [error.message, 2]);
});

test('a submit that is answered with no task may have arrived too', async () => {
  for (const body of [{}, null, 'null', { output: {} }]) {
    const { client } = setUp({ [SUBMIT]: () => ({ body }) });
    const error = await rejection(client.submit(REQUEST, { idempotencyKey: 'mine' }));
    assert.deepEqual([error.kind, error.idempotencyKey], ['Ambiguous', 'mine'], JSON.stringify(body));
    assert.match(error.message, /^it may have been submitted \(the answer is not the documented one\); submit it again/);
  }
});

test('a token that cannot be had leaves no doubt about a submit, and is asked for as often as anything else', async () => {
  const { relay, clock, client } = setUp({ [TOKENS]: () => new TypeError('Failed to fetch') });
  for (const [place, call] of [() => client.submit(REQUEST), () => client.token(), () => client.download(`${BASE}/results/r`)].entries()) {
    const refusing = rejection(call());
    await clock.advance(120_000);
    assert.equal((await refusing).kind, 'Lost');
    assert.equal(relay.of(TOKENS).length, 6 * (place + 1));
  }
  assert.equal(relay.calls.length, 18);
});

test('the life of a token is counted from when it was asked for, not from when a sign-in began', async () => {
  let signIn;
  const token = () => new Promise((resolve) => (signIn = resolve));
  const { relay, clock, client } = setUp({ 'GET /api/v1/tasks/*': () => ({ body: task('t-1', 'RUNNING') }) }, { token });
  const first = client.fetch('t-1');
  // The user takes two minutes to confirm it.
  await clock.advance(120_000);
  signIn('id-token');
  await first;
  await client.fetch('t-1');
  assert.equal(relay.of(TOKENS).length, 1);
});

test('a fault of the token source is the page’s own, and tried again only if it says so', async () => {
  const faults = [new ValetError('Unavailable', 'no network'), new TypeError('a bug')];
  let asked = 0;
  const token = () => {
    throw faults[asked++];
  };
  const { clock, client } = setUp({}, { token });
  const refusing = rejection(client.fetch('t-1'));
  await clock.advance(10_000);
  assert.equal(await refusing, faults[1]);
  assert.equal(asked, 2);
});

test('what is no token is not sent', async () => {
  for (const given of ['', 'two words', 'a\nb', 'tóken', '…']) {
    const { relay, client } = setUp({}, { token: () => given });
    assert.equal((await rejection(client.fetch('t-1'))).kind, 'Malformed', given);
    assert.deepEqual(relay.calls, []);
  }
});

test('an abort is told by its reason, whatever that is and whenever it comes', async () => {
  const never = () => new Promise(() => {});
  const results = [{ file_url: REQUEST.urls[0], subtask_status: 'SUCCEEDED', transcription_url: `${BASE}/results/r-1` }];
  const routes = {
    [TOKENS]: tokens(),
    [SUBMIT]: () => ({ body: task('t-1', 'PENDING') }),
    'GET /api/v1/tasks/*': () => ({ body: task('t-1', 'SUCCEEDED', { results }) }),
    'GET /api/v1/results/*': () => ({ body: {} }),
  };
  for (const stuck of [...Object.keys(routes), 'the source', 'a pause']) {
    for (const reason of [null, 'words', new Error('e'), new ValetError('Lost', 'mine')]) {
      const token = stuck === 'the source' ? never : undefined;
      const isHeld = stuck in routes;
      const passing = stuck === 'a pause' && { [SUBMIT]: () => refused(503, 'SystemError') };
      const { clock, client } = setUp({ ...routes, ...(isHeld && { [stuck]: never }), ...passing }, { token });
      const stop = new AbortController();
      let [outcome, isOver] = [undefined, false];
      const ended = rejection(client.transcribe(REQUEST, { signal: stop.signal })).then((error) => {
        [outcome, isOver] = [error, true];
      });
      await settled();
      assert(!isOver, stuck);
      stop.abort(reason);
      await ended;
      assert.equal(outcome, reason, `${stuck}: ${outcome}`);
      await settled();
      // What all share, a token, is not given up for one; nothing else is left behind.
      if (stuck !== TOKENS) assert.deepEqual(clock.due(), [], stuck);
    }
  }
});

test('an abort that came before leaves no rejection that nobody handles', async () => {
  const { relay, client } = setUp({ [TOKENS]: () => refused(401, 'invalid_subject_token') });
  const signal = AbortSignal.abort();
  for (const call of [client.fetch('t-1', { signal }), client.wait('t-1', { signal }), client.token({ signal }), client.submit(REQUEST, { signal })]) {
    assert.equal(await rejection(call), signal.reason);
  }
  await settled();
  assert.deepEqual(relay.calls, []);
});

test('a result whose URL is none fails alone', async () => {
  const urls = ['a', 'b', 'c'].map((name) => `https://files.example.com/${name}.wav`);
  const places = ['nowhere', 'file:///etc/passwd', `${BASE}/results/r-1`];
  const results = urls.map((url, place) => ({ file_url: url, subtask_status: 'SUCCEEDED', transcription_url: places[place] }));
  const { clock, client } = setUp({
    'GET /api/v1/tasks/*': () => ({ body: task('t-1', 'SUCCEEDED', { results }) }),
    'GET /api/v1/results/*': () => ({ body: { transcripts: [] } }),
  });
  const { files } = await client.collect(await client.wait('t-1'), urls);
  assert.deepEqual(files.map(({ failure }) => failure?.error.kind), ['InvalidRequest', 'InvalidRequest', undefined]);
  assert.deepEqual(clock.due(), [], 'no timer is left behind');
});

test('Retry-After never has a call made again without a pause', async () => {
  for (const seconds of ['0', '-1', '0.001', 'soon', '']) {
    const { relay, clock, client } = setUp({ 'GET /api/v1/tasks/*': () => refused(503, 'SystemError', { 'Retry-After': seconds }) });
    const refusing = rejection(client.fetch('t-1'));
    await settled();
    assert.equal(relay.calls.length, 2, seconds);
    assert(clock.due()[0] >= 250, seconds);
    await clock.advance(60_000);
    assert.equal((await refusing).kind, 'Unavailable');
  }
});

test('what breaks a rule is not sent', async () => {
  const { relay, client } = setUp({});
  for (const urls of [undefined, [], ['a.wav'], ['https://files.example.com/a.wav', 'oss://bucket/a.wav']]) {
    assert.equal((await rejection(client.submit({ urls }))).kind, 'InvalidRequest');
  }
  for (const id of ['../tokens', '..', '.', '', 'a/b', 'a?b', 'a%2e']) {
    for (const call of [client.fetch(id), client.cancel(id), client.wait(id)]) assert.equal((await rejection(call)).kind, 'InvalidRequest', id);
  }
  assert.deepEqual(relay.calls, []);
});

test('a key that cannot be sent leaves no doubt about a submit', async () => {
  const { relay, client } = setUp({ [SUBMIT]: () => ({ body: task('t-1', 'PENDING') }) });
  for (const idempotencyKey of ['会议', 'two\nlines', 'm\u00fcde']) {
    const error = await rejection(client.submit(REQUEST, { idempotencyKey }));
    assert.deepEqual([error.kind, error.message], ['InvalidRequest', 'idempotencyKey: must be plain ASCII']);
  }
  assert.deepEqual(relay.calls, []);
  await client.submit(REQUEST, { idempotencyKey: 'meeting 12' });
});

test('what JSON cannot say is told before anything is sent', async () => {
  const { relay, clock, client } = setUp({});
  const round = {};
  round.self = round;
  for (const part of [{ parameters: { seed: 1n } }, { parameters: { round } }, { wordFilter: { seed: 1n } }, { channels: [0n] }]) {
    const error = await rejection(client.submit({ ...REQUEST, ...part }));
    assert.deepEqual([error.kind, error.message], ['InvalidRequest', 'request: must be JSON']);
  }
  assert.deepEqual([relay.calls, clock.due()], [[], []], 'no timer is left behind');
});

test('URLs are sent as the service wants them', async () => {
  const { relay, client } = setUp({ [SUBMIT]: () => ({ body: task('t-1', 'PENDING') }) });
  const signed = 'https://files.example.com/a%20b.wav?sig=%2b';
  await client.submit({ urls: [signed, 'https://files.example.com/会 议.wav'] });
  const sent = ['https://files.example.com/a%20b.wav?sig=%2b', 'https://files.example.com/%E4%BC%9A%20%E8%AE%AE.wav'];
  assert.deepEqual(relay.of(SUBMIT)[0].body.input.file_urls, sent);
});

test('results are read in the order of the URLs, and what fails, fails file by file', async () => {
  const results = [
    { file_url: 'https://files.example.com/c.wav', subtask_status: 'FAILED', code: 'FILE_404_NOT_FOUND', message: 'Gone.' },
    { file_url: 'https://files.example.com/b.wav', subtask_status: 'FAILED', code: 'SUCCESS_WITH_NO_VALID_FRAGMENT' },
    { file_url: 'https://files.example.com/a.wav', subtask_status: 'SUCCEEDED', transcription_url: `${BASE}/results/r-1` },
    { file_url: 'https://files.example.com/e.wav', subtask_status: 'SUCCEEDED', transcription_url: 'https://oss.example.com/e.json' },
  ];
  const { relay, client } = setUp({
    [SUBMIT]: () => ({ body: task('t-1', 'PENDING') }),
    'GET /api/v1/tasks/*': () => ({ body: task('t-1', 'SUCCEEDED', { results }) }),
    'GET /api/v1/results/*': () => ({ body: { transcripts: [{ text: 'Hello.' }] } }),
    'GET /e.json': () => ({ body: { transcripts: [] } }),
  });
  const seen = [];
  const urls = ['a', 'b', 'c', 'd', 'e'].map((name) => `https://files.example.com/${name}.wav`);
  const { files, task: ended } = await client.transcribe({ urls }, { onProgress: ({ status }) => seen.push(status) });
  assert.equal(ended.status, 'SUCCEEDED');
  assert.deepEqual(seen, ['PENDING', 'SUCCEEDED']);
  assert.deepEqual(files.map(({ url }) => url), urls);
  assert.equal(files[0].transcript.transcripts[0].text, 'Hello.');
  assert.deepEqual(files[1].transcript.transcripts, [], 'no speech is an empty transcript');
  assert.deepEqual(files[2].failure, { code: 'FILE_404_NOT_FOUND', message: 'Gone.' });
  assert.match(files[3].failure.message, /without a result/);
  assert.deepEqual(files[4].transcript.transcripts, []);
  // The relay's results are asked for with the token; another host never sees it.
  assert.equal(relay.of('GET /api/v1/results/r-1')[0].headers.get('authorization'), 'Bearer relay-token-1');
  assert.equal(relay.of('GET /e.json')[0].headers.get('authorization'), null);
});

test('lists that are none are told as undocumented answers, and spoil nothing else', async () => {
  for (const data of [undefined, null, {}, 'text']) {
    const { client } = setUp({ 'GET /api/v1/tasks/': () => ({ body: { total: 1, data } }) });
    assert.equal((await rejection(client.tasks())).kind, 'Malformed', `${data}`);
  }
  for (const tasks of [{}, 'text', [null]]) {
    const { client } = setUp({ 'POST /api/v1/tasks/wait': () => ({ body: { tasks } }) });
    for (const wait of ['a', 'b'].map((id) => rejection(client.wait(id)))) assert.equal((await wait).kind, 'Malformed');
  }
  for (const results of [{}, 7, 'text', [null, 7]]) {
    const { client } = setUp({ 'GET /api/v1/tasks/*': () => ({ body: task('t-1', 'SUCCEEDED', { results }) }) });
    const { files } = await client.collect(await client.fetch('t-1'), REQUEST.urls);
    assert.match(files[0].failure.message, /without a result/);
  }
});

test('a task that ended without results is an error that names it', async () => {
  const { relay, client } = setUp({ 'GET /api/v1/tasks/*': () => ({}) });
  const ends = { UNKNOWN: 'UnknownTask', CANCELED: 'TaskFailed', FAILED: 'TaskFailed', RUNNING: 'TaskFailed' };
  for (const [status, kind] of Object.entries(ends)) {
    relay.routes['GET /api/v1/tasks/*'] = () => ({ body: task('t-1', status, { code: 'X', message: 'why' }) });
    const error = await rejection(client.collect(await client.fetch('t-1'), []));
    assert.deepEqual([error.kind, error.taskId], [kind, 't-1'], status);
  }
});

test('what the service does not say of a failure is said to be missing, and is not made up', async () => {
  const url = REQUEST.urls[0];
  const fails = [{}, { message: '' }, { code: null, message: null }, { code: '', message: 7 }, { code: { toString: 1 }, message: { toString: 1 } }];
  for (const more of fails) {
    const { relay, client } = setUp({
      'GET /api/v1/tasks/*': () => ({ body: task('t-1', 'SUCCEEDED', { results: [{ file_url: url, ...more }] }) }),
      'POST /api/v1/tasks/*/cancel': () => ({ status: 400, body: more }),
    });
    const { files } = await client.collect(await client.fetch('t-1'), [url]);
    assert.deepEqual(files[0].failure, { code: undefined, message: 'no reason given' });
    relay.routes['GET /api/v1/tasks/*'] = () => ({ body: task('t-1', 'FAILED', more) });
    for (const [call, message] of [
      [client.collect(await client.fetch('t-1'), []), 'task t-1: no reason given'],
      [client.cancel('t-1'), 'status 400, no reason given'],
    ]) {
      const error = await rejection(call);
      assert.deepEqual([error.code, error.message], [undefined, message], JSON.stringify(more));
    }
  }
});

test('an error tells what the other side said, on one line, and never the token', async () => {
  const { relay, client } = setUp({
    'POST /api/v1/tasks/*/cancel': ({ headers }) => ({
      status: 400,
      body: { code: 'UnsupportedOperation', message: `no\u001b[31m ${headers.get('authorization')}\n${'x'.repeat(2000)}`, request_id: 'r-9' },
    }),
  });
  const error = await rejection(client.cancel('t-1'));
  assert(error instanceof ValetError && error instanceof Error);
  assert.deepEqual([error.kind, error.code, error.status, error.requestId], ['Refused', 'UnsupportedOperation', 400, 'r-9']);
  assert(error.message.startsWith('no [31m Bearer [token] xxx') && error.message.length < 1100, error.message);
  assert(!JSON.stringify(error).includes('relay-token'));
  relay.routes['POST /api/v1/tasks/*/cancel'] = () => refused(429, 'Throttling.AllocationQuota');
  assert.equal((await rejection(client.cancel('t-1'))).kind, 'Refused', 'waiting does not help');
});

test('an answer larger than an answer may be is not read to its end', async () => {
  const { client } = setUp({ 'GET /api/v1/tasks/*': () => ({ body: `"${'x'.repeat(5 << 20)}"` }) });
  assert.equal((await rejection(client.fetch('t-1'))).kind, 'Malformed');
});

test('a call is given up in time, and again while that may help', async () => {
  const { relay, clock, client } = setUp({ 'GET /api/v1/tasks/*': () => new Promise(() => {}) });
  const refusing = rejection(client.fetch('t-1'));
  await clock.advance(400_000);
  assert.equal((await refusing).kind, 'Lost');
  assert.equal(relay.calls.filter(({ kind }) => kind.startsWith('GET')).length, 6);
  assert.deepEqual(clock.due(), [], 'no timer is left behind');
});

test('one who gives up stops nobody else', async () => {
  let give;
  const token = () => new Promise((resolve) => (give = resolve));
  const { relay, client } = setUp({ 'GET /api/v1/tasks/*': () => ({ body: task('t-1', 'RUNNING') }) }, { token });
  const impatient = new AbortController();
  const [given, kept] = [rejection(client.fetch('t-1', { signal: impatient.signal })), client.fetch('t-1')];
  await settled();
  const reason = new Error('changed my mind');
  impatient.abort(reason);
  assert.equal(await given, reason);
  give('id-token');
  assert.equal((await kept).status, 'RUNNING');
  assert.equal(relay.of(TOKENS).length, 1);
  assert.equal(await rejection(client.submit(REQUEST, { signal: AbortSignal.abort(reason) })), reason);
});

test('the machine’s clock knows no time that is too long', async () => {
  for (const time of [2 ** 31, 1e12, Infinity]) {
    let isEarly = false;
    const cancel = system.timer(time, () => (isEarly = true));
    await new Promise((resolve) => setTimeout(resolve, 20));
    cancel();
    assert(!isEarly, `${time}`);
  }
});
