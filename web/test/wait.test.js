// Waiting: one request for many tasks, held by the relay; and no faster than that where nothing is held.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Client, ValetError } from '../src/index.js';
import { BROKER, Relay, refused, rejection, settled, task, tokens } from './relay.js';

const [ONE, MANY] = ['GET /api/v1/tasks/*', 'POST /api/v1/tasks/wait'];
const held = (body) => ({ body, headers: { 'Preference-Applied': 'wait=30' } });

function setUp(routes) {
  const relay = new Relay({ 'POST /v1/tokens': tokens(), ...routes });
  return { relay, clock: relay.clock, client: new Client({ broker: BROKER, token: () => 'id-token', clock: relay.clock }) };
}

test('a wait asks the relay to hold its answer, for no longer than its token lives', async () => {
  let tell;
  const { relay, clock, client } = setUp({ [ONE]: () => new Promise((resolve) => (tell = resolve)) });
  const ended = client.wait('t-1');
  await settled();
  const asked = () => relay.calls.filter(({ kind }) => kind.startsWith('GET')).map(({ headers }) => headers.get('prefer'));
  assert.deepEqual(asked(), ['wait=30']);
  await clock.advance(30_000);
  tell(held(task('t-1', 'RUNNING')));
  // The token has 28 s left by then.
  await clock.advance(2_000);
  assert.deepEqual(asked(), ['wait=30', 'wait=27']);
  tell(held(task('t-1', 'SUCCEEDED')));
  assert.equal((await ended).status, 'SUCCEEDED');
  await settled();
  assert.equal(asked().length, 2);
  assert.deepEqual(clock.due(), []);
});

test('where nothing is held it asks less and less often', async () => {
  const { relay, clock, client } = setUp({ [ONE]: () => ({ body: task('t-1', 'RUNNING') }) });
  const stop = new AbortController();
  const waiting = rejection(client.wait('t-1', { signal: stop.signal }));
  await clock.advance(120_000);
  const times = relay.calls.filter(({ kind }) => kind.startsWith('GET')).map(({ at }) => at);
  const pauses = times.slice(1).map((at, place) => Math.round(at - times[place]));
  assert(pauses[0] >= 1000 && pauses.every((pause, place) => !place || pause >= pauses[place - 1]), pauses.join());
  assert.equal(pauses.at(-1), 5000);
  assert(times.length < 35, `${times.length} queries in two minutes`);
  stop.abort();
  assert.equal((await waiting).name, 'AbortError');
  const asked = relay.calls.length;
  await clock.advance(60_000);
  assert.equal(relay.calls.length, asked, 'nobody waits any more');
});

test('an answer that claims to have been held, and was not, is not asked for in a loop', async () => {
  const { relay, clock, client } = setUp({ [ONE]: () => held(task('t-1', 'RUNNING')) });
  client.wait('t-1').catch(() => {});
  await clock.advance(60_000);
  assert(relay.calls.length < 22, `${relay.calls.length} calls in a minute`);
});

test('an answer at once with Retry-After is obeyed', async () => {
  const { relay, clock, client } = setUp({ [ONE]: () => ({ body: task('t-1', 'RUNNING'), headers: { 'Retry-After': '17' } }) });
  client.wait('t-1').catch(() => {});
  await clock.advance(16_999);
  assert.equal(relay.calls.length, 2);
  await clock.advance(1);
  assert.equal(relay.calls.length, 3);
});

test('Retry-After is obeyed within reason', async () => {
  const answers = {
    'an answer': (seconds) => ({ body: task('t-1', 'RUNNING'), headers: { 'Retry-After': seconds } }),
    'a refusal': (seconds) => refused(503, 'SystemError', { 'Retry-After': seconds }),
  };
  for (const [what, answer] of Object.entries(answers)) {
    for (const [seconds, least, most] of [['0', 7, 70], ['0.001', 7, 70], ['1e300', 4, 5], ['1e999', 4, 5], ['86400', 4, 5]]) {
      const { relay, clock, client } = setUp({ [ONE]: () => answer(seconds) });
      const stop = new AbortController();
      client.wait('t-1', { signal: stop.signal }).catch(() => {});
      await clock.advance(240_000);
      const asked = relay.calls.filter(({ kind }) => kind.startsWith('GET')).length;
      assert(asked >= least && asked <= most, `${what}, ${seconds}: ${asked} queries in four minutes`);
      stop.abort();
    }
  }
});

test('a source that says that its fault passes ends no wait', async () => {
  const faults = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(() => new ValetError('Unavailable', 'no network'));
  const relay = new Relay({ 'POST /v1/tokens': tokens(), [ONE]: () => ({ body: task('t-1', 'SUCCEEDED') }) });
  const token = () => (faults.length ? Promise.reject(faults.pop()) : 'id-token');
  const ended = new Client({ broker: BROKER, token, clock: relay.clock }).wait('t-1');
  await relay.clock.advance(300_000);
  assert.equal((await ended).status, 'SUCCEEDED');
});

test('many tasks are waited for in one request, and each is told of its own end', async () => {
  let tell;
  const { relay, clock, client } = setUp({ [MANY]: () => new Promise((resolve) => (tell = resolve)) });
  const waits = ['a', 'b', 'c'].map((id) => client.wait(id));
  await settled();
  assert.deepEqual(relay.of(MANY).map(({ body }) => body), [{ task_ids: ['a', 'b', 'c'] }]);
  assert.equal(relay.of(MANY)[0].headers.get('prefer'), 'wait=30');
  tell(held({ tasks: [task('a', 'RUNNING'), task('b', 'SUCCEEDED'), task('c', 'PENDING')] }));
  assert.equal((await waits[1]).id, 'b');
  await clock.advance(1_000);
  assert.deepEqual(relay.of(MANY)[1].body, { task_ids: ['a', 'c'] });
  // One more comes along: the request that is held does not speak of it.
  waits.push(client.wait('d'));
  await settled();
  assert.deepEqual(relay.of(MANY)[2].body, { task_ids: ['a', 'c', 'd'] });
  tell(held({ tasks: ['a', 'c', 'd'].map((id) => task(id, 'SUCCEEDED')) }));
  assert.deepEqual((await Promise.all(waits)).map(({ id }) => id), ['a', 'b', 'c', 'd']);
});

test('more than a hundred tasks take as few requests as there can be', async () => {
  const { relay, client } = setUp({ [MANY]: () => new Promise(() => {}) });
  for (let number = 0; number < 250; number++) client.wait(`t-${number}`).catch(() => {});
  await settled();
  assert.deepEqual(relay.of(MANY).map(({ body }) => body.task_ids.length), [100, 100, 50]);
});

test('a wait goes through passing faults and any number of tokens', async () => {
  const faults = [new TypeError('Failed to fetch'), refused(500, 'InternalError'), refused(429, 'Throttling'), refused(401, 'InvalidApiKey')];
  let asked = 0;
  const { relay, clock, client } = setUp({
    [ONE]: () => faults.shift() ?? { body: task('t-1', ++asked < 300 ? 'RUNNING' : 'SUCCEEDED') },
  });
  const ended = client.wait('t-1');
  await clock.advance(25 * 60_000);
  assert.equal((await ended).status, 'SUCCEEDED');
  assert(relay.of('POST /v1/tokens').length > 20, `${relay.of('POST /v1/tokens').length} tokens`);
});

test('what is refused for good ends the waits, and names the task', async () => {
  const { client } = setUp({ [MANY]: () => refused(403, 'AccessDenied') });
  const errors = await Promise.all(['a', 'b'].map((id) => rejection(client.wait(id))));
  assert.deepEqual(errors.map(({ kind, taskId }) => [kind, taskId]), [['Refused', 'a'], ['Refused', 'b']]);
});

test('a deadline ends a wait and nothing else', async () => {
  const { clock, client } = setUp({ [ONE]: () => ({ body: task('t-1', 'RUNNING') }) });
  let isOpen = true;
  const patient = client.wait('t-1').finally(() => (isOpen = false));
  patient.catch(() => {});
  const late = rejection(client.wait('t-1', { deadline: 10_000 }));
  await clock.advance(10_000);
  assert.deepEqual([(await late).kind, (await late).taskId], ['Deadline', 't-1']);
  assert(isOpen);
  client.wait('t-1', { deadline: Infinity }).catch(() => {});
  await settled();
  assert(!clock.due().includes(Infinity), 'one that is endless is none');
});

test('progress is told of each thing learnt, and an error in telling it ends that wait alone', async () => {
  const statuses = ['PENDING', 'RUNNING', 'RUNNING', 'SUCCEEDED'];
  const { clock, client } = setUp({ [ONE]: () => ({ body: task('t-1', statuses.shift() ?? 'SUCCEEDED') }) });
  const seen = [];
  const ended = client.wait('t-1', { onProgress: ({ status }) => seen.push(status) });
  const broken = rejection(client.wait('t-1', { onProgress: () => { throw new Error('in the page'); } }));
  await clock.advance(20_000);
  assert.equal((await broken).message, 'in the page');
  await ended;
  assert.deepEqual(seen, ['PENDING', 'RUNNING', 'RUNNING', 'SUCCEEDED']);
});
