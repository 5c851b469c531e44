// The playground's flow: who asks, what for, how far it is, and what came of it. Tokens stay in this module's memory.

import { Client } from './valet/index.js';
import { shown } from './transcript.js';

const part = (id) => document.getElementById(id);
const [form, status, busy, problem] = ['form', 'status', 'busy', 'problem'].map(part);
const [start, stop, transcripts] = ['start', 'stop', 'transcripts'].map(part);

const STATUSES = { PENDING: 'waiting for its turn', RUNNING: 'being transcribed' };

let running;
let client;
/** What may have been submitted, and the key that makes it safe to submit it again. */
let doubtful;

/** Which apps this page can be signed in as; and whether it was opened where the broker expects it. */
async function setUp() {
  const settings = await (await fetch('settings.json', { cache: 'no-store' })).json();
  if (settings.origin !== location.origin) {
    say(part('elsewhere'), `This broker calls itself ${settings.origin}: open ${settings.origin}/playground/ instead.`);
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

/** A Valet token for the app that was chosen, or the ID token that was pasted, which the module exchanges. */
async function token() {
  const app = part('app').value;
  if (part('here').hidden || !app) {
    const pasted = part('token').value.trim();
    if (!pasted) throw new Error('Paste an ID token first.');
    return pasted;
  }
  const answer = await fetch('sign-in', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ app }),
    cache: 'no-store',
  });
  const body = await answer.json();
  if (!answer.ok) throw new Error(`${body.detail} (${body.code})`);
  return body;
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
  const { signal } = stopping;
  const onProgress = (task) => {
    running.task = task;
    say(status, `The task is ${STATUSES[task.status] ?? task.status.toLowerCase()}.`);
  };
  begun();
  try {
    client ??= new Client({ broker: location.origin, token });
    say(status, 'Submitting…');
    const idempotencyKey = doubtful?.text === text ? doubtful.key : undefined;
    const { files } = await client.transcribe(wanted, { signal, onProgress, idempotencyKey });
    doubtful = undefined;
    transcripts.append(...files.map(shown));
    transcripts.hidden = false;
    const seconds = Math.round((performance.now() - began) / 1000);
    const done = files.filter((file) => file.transcript).length;
    say(status, `Done in ${seconds} s: ${done} of ${files.length} ${files.length === 1 ? 'recording' : 'recordings'} transcribed.`);
  } catch (error) {
    if (error.idempotencyKey) doubtful = { text, key: error.idempotencyKey };
    // A task that was cancelled may be told of before the answer to its cancellation comes.
    if (signal.aborted) say(status, signal.reason);
    else if (running.task?.status === 'CANCELED') say(status, 'Cancelled.');
    else failed(error);
  } finally {
    ended();
  }
}

/** A task that has not begun is cancelled; one that has goes on, and nobody waits for it. */
async function cancel() {
  const { task, stopping } = running;
  stop.disabled = true;
  try {
    if (task) await client.cancel(task.id);
    stopping.abort(task ? 'Cancelled.' : 'Cancelled; what was being submitted may go on.');
  } catch (error) {
    stopping.abort(`No longer waited for. The task goes on: ${error.message}`);
  }
}

function begun() {
  for (const article of transcripts.querySelectorAll('article')) article.remove();
  transcripts.hidden = problem.hidden = true;
  busy.hidden = stop.hidden = false;
  stop.disabled = false;
  start.disabled = true;
}

function ended() {
  running = undefined;
  busy.hidden = stop.hidden = true;
  start.disabled = false;
}

function failed(error) {
  say(status, 'Failed.');
  const details = [error.kind, error.code, error.requestId && `request ${error.requestId}`].filter(Boolean);
  say(problem, details.length ? `${error.message} (${details.join(', ')})` : error.message);
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
