// The client: all calls, on one token that is renewed underneath. Knows no page and no framework.

import { apiOf } from './api.js';
import { system } from './clock.js';
import { ValetError, malformed } from './error.js';
import { sender } from './http.js';
import { poller } from './poller.js';
import { bodyOf, newKey, wrong } from './request.js';
import { checkEnded, matched, outcomeOf, pathOf, taskOf } from './task.js';
import { tokensOf } from './tokens.js';

// Results of one task that are downloaded at a time.
const DOWNLOADS = 4;
// What to do about a submit: if its answer is missing, and if the relay itself has none, which it never will.
const UNHEARD = 'submit it again with the same idempotencyKey';
const LOST = 'submit it again with a new idempotencyKey, and it may be billed twice';

export class Client {
  #api;
  #wait;

  constructor({ token, broker, clock = system }) {
    const send = sender(clock);
    const tokens = tokensOf(token, broker, send, clock);
    this.#api = apiOf(send, tokens, clock);
    this.#wait = poller(this.#api, tokens, clock);
  }

  async token({ signal } = {}) {
    const { token, baseUrl } = await this.#api.token(signal);
    return { token, baseUrl };
  }

  /** Sent again only if it certainly did not arrive, or was refused with 429 or 503: it costs money. */
  async submit(request, { signal, idempotencyKey = newKey() } = {}) {
    const failed = (error) => {
      if (signal?.aborted || isCertain(error)) throw error;
      const message = `it may have been submitted (${error.message}); ${error.kind === 'Ambiguous' ? LOST : UNHEARD}`;
      throw new ValetError('Ambiguous', message, { ...error, kind: 'Ambiguous', idempotencyKey });
    };
    if (/[^ -~]/.test(idempotencyKey)) throw wrong('idempotencyKey', 'must be plain ASCII');
    const headers = { 'X-DashScope-Async': 'enable', 'Idempotency-Key': idempotencyKey };
    const options = { body: bodyOf(request), headers, signal, failed };
    const answer = await this.#api.again('POST', 'services/audio/asr/transcription', options);
    try {
      return taskOf(answer);
    } catch (error) {
      return failed(error);
    }
  }

  async fetch(id, { signal } = {}) {
    return taskOf(await this.#api.again('GET', pathOf(id), { signal }));
  }

  async cancel(id, { signal } = {}) {
    await this.#api.again('POST', `${pathOf(id)}/cancel`, { signal });
  }

  async tasks({ page = 1, size = 100, status, signal } = {}) {
    const query = new URLSearchParams({ page_no: page, page_size: size, ...(status && { status }) });
    const { body } = await this.#api.again('GET', `tasks/?${query}`, { signal });
    if (!Array.isArray(body.data)) throw malformed();
    return { total: body.total, tasks: body.data };
  }

  async wait(id, options = {}) {
    pathOf(id);
    return this.#wait(id, options);
  }

  async collect(task, urls, { signal } = {}) {
    checkEnded(task);
    const left = matched(task, urls);
    const files = [];
    const work = async () => {
      for (let next; (next = left.shift()); ) files[next.index] = await this.#read(next, signal);
    };
    await Promise.all(Array.from({ length: DOWNLOADS }, work));
    return { task, files };
  }

  download(url, { signal } = {}) {
    return this.#api.download(url, signal);
  }

  async transcribe(request, options = {}) {
    const submitted = await this.submit(request, options);
    options.onProgress?.(submitted);
    const task = await this.wait(submitted.id, options);
    return this.collect(task, request.urls, options);
  }

  async #read({ index, url, result }, signal) {
    const { download, ...outcome } = outcomeOf(url, result);
    if (!download) return { index, url, ...outcome };
    try {
      return { index, url, transcript: await this.download(download, { signal }) };
    } catch (error) {
      if (signal?.aborted || !(error instanceof ValetError)) throw error;
      return { index, url, failure: { code: error.code, message: `its result: ${error.message}`, error } };
    }
  }
}

/** Whether an error of a submit leaves no doubt that nothing was submitted. */
function isCertain({ kind, status }) {
  return kind === 'Unavailable' ? status === 503 : !['Lost', 'Malformed', 'Ambiguous'].includes(kind);
}
