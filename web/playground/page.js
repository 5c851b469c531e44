// The playground's flow: who asks, what for, how far it is, and what came of it. Tokens stay in this module's memory.

import { Client, ValetError } from './valet/index.js';
import { newKey } from './valet/request.js';
import { shown } from './transcript.js';

const part = (id) => document.getElementById(id);
const [form, who, status, busy, problem] = ['form', 'who', 'status', 'busy', 'problem'].map(part);
const [start, stop, transcripts] = ['start', 'stop', 'transcripts'].map(part);

// The broker, which may lie below a path.
const BROKER = new URL('..', location.href).href;
const STATUSES = { PENDING: 'waiting for its turn', RUNNING: 'being transcribed' };

const CANCELLED = 'Cancelled.';
// What a sign-in may take, in milliseconds.
const SIGN_IN = 30_000;

let running;
let client;
/** What may be under way, and the key by which it is submitted once, however often it is tried, until it is read. */
let underWay;

/** Which apps this page can be signed in as; and whether it was opened where the broker expects it. */
async function setUp() {
  const settings = await (await fetch('settings.json', { cache: 'no-store' })).json();
  if (settings.url !== new URL('.', location.href).href) {
    say(part('elsewhere'), `This broker expects this page elsewhere: open ${settings.url} instead.`);
  }
  if (!settings.sign_in.length) return;
  for (const app of settings.sign_in) part('app').append(new Option(app, app));
  part('app').append(new Option('nobody: use an ID token', ''));
  part('app').addEventListener('change', whoAsks);
  part('here').hidden = false;
  whoAsks();
}

function whoAsks() {
  part('user').hidden = !part('here').hidden && part('app').value !== '';
  client = undefined;
}

/** The tokens of who asks now: of the app that was chosen, or the ID token that was pasted, which the module exchanges. */
function source() {
  const app = part('here').hidden ? '' : part('app').value;
  if (app) return () => signedIn(app);
  const pasted = part('token').value.trim();
  if (!pasted) throw new Error('Paste an ID token first.');
  return () => pasted;
}

/** A Valet token for an app. */
async function signedIn(app) {
  const answer = await fetch('sign-in', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ app }),
    cache: 'no-store',
    signal: AbortSignal.timeout(SIGN_IN),
  }).catch(() => passing('the broker was not reached'));
  const body = await answer.json().catch(() => passing(`the broker answered with ${answer.status}`));
  if (answer.ok) return body;
  const why = `${body.detail} (${body.code})`;
  if (answer.status === 429 || answer.status >= 500) passing(why);
  throw new Error(why);
}

/** Fails so that it is tried again. */
function passing(why) {
  throw new ValetError('Unavailable', why);
}

function request() {
  const language = part('language').value;
  return {
    urls: part('urls').value.split('\n').map((line) => line.trim()).filter(Boolean),
    model: part('model').value,
    ...(language && { languageHints: [language] }),
    ...(part('channels').value !== '0' && { channels: [0, 1] }),
    ...(part('speakers').checked && { diarization: true }),
  };
}

async function run() {
  const [began, wanted] = [performance.now(), request()];
  const text = JSON.stringify(wanted);
  const stopping = new AbortController();
  running = { stopping };
  if (underWay?.text !== text) underWay = { text, key: newKey() };
  const { signal } = stopping;
  const onProgress = (task) => {
    running.task = task;
    say(status, `The task is ${STATUSES[task.status] ?? task.status.toLowerCase()}.`);
  };
  begun();
  try {
    client ??= new Client({ broker: BROKER, token: source() });
    running.client = client;
    say(status, 'Submitting…');
    const { files } = await client.transcribe(wanted, { signal, onProgress, idempotencyKey: underWay.key });
    if (!files.some(({ failure }) => failure?.error)) underWay = undefined;
    transcripts.append(...files.map(shown));
    transcripts.hidden = false;
    const seconds = Math.round((performance.now() - began) / 1000);
    const done = files.filter((file) => file.transcript).length;
    say(status, `Done in ${seconds} s: ${done} of ${files.length} ${files.length === 1 ? 'recording' : 'recordings'} transcribed.`);
  } catch (error) {
    if (signal.reason === CANCELLED || ['TaskFailed', 'UnknownTask'].includes(error?.kind)) underWay = undefined;
    // A task that was cancelled may be told of before the answer to its cancellation comes.
    if (signal.aborted) say(status, signal.reason);
    else if (running.task?.status === 'CANCELED') say(status, CANCELLED);
    else failed(error);
  } finally {
    ended();
  }
}

/** A task that has not begun is cancelled; one that has goes on, and nobody waits for it. */
async function cancel() {
  if (stop.ariaDisabled) return;
  const { client, task, stopping } = running;
  stop.ariaDisabled = 'true';
  try {
    if (!task) return stopping.abort('Cancelled. What was being submitted may go on: Transcribe again to see.');
    if (task.isFinal) return stopping.abort('Cancelled. The task had ended by then: Transcribe again to read it.');
    await client.cancel(task.id);
    stopping.abort(CANCELLED);
  } catch (error) {
    stopping.abort(`No longer waited for. The task goes on; Transcribe again to wait for it. (${error.message})`);
  }
}

function begun() {
  for (const article of transcripts.querySelectorAll('article')) article.remove();
  transcripts.hidden = problem.hidden = true;
  busy.hidden = stop.hidden = false;
  stop.ariaDisabled = null;
  // Not disabled: whoever has pressed it by keyboard stays there.
  start.ariaDisabled = 'true';
  if (who.contains(document.activeElement)) start.focus();
  // Tokens are renewed for who has begun.
  who.disabled = true;
}

function ended() {
  running = undefined;
  if (document.activeElement === stop) start.focus();
  busy.hidden = stop.hidden = true;
  start.ariaDisabled = null;
  who.disabled = false;
}

function failed(error) {
  say(status, 'Failed.');
  const { kind, code, requestId } = error;
  const message =
    code === 'SubmitOutcomeUnknown' ? 'It may have been submitted, and the broker will not know. Reload this page to submit it anew; it may then be paid for twice.'
    : kind === 'Ambiguous' ? 'It may have been submitted. Press Transcribe again: however often, it is submitted once.'
    : running?.task?.isFinal === false ? `The task goes on; press Transcribe again to wait for it. ${error.message}`
    : error.message;
  const details = [kind, code, requestId && `request ${requestId}`].filter(Boolean);
  say(problem, details.length ? `${message} (${details.join(', ')})` : message);
}

function say(place, text) {
  place.textContent = text;
  place.hidden = false;
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  if (!running) run();
});
part('token').addEventListener('change', () => {
  client = undefined;
});
stop.addEventListener('click', cancel);
setUp().catch(failed);
