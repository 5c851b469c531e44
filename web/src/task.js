// A task as the service tells of it (*Manage asynchronous tasks*), and what came of its files.

import { ValetError, malformed, ofTask, printable } from './error.js';
import { encoded, wrong } from './request.js';

const FINAL = ['SUCCEEDED', 'FAILED', 'CANCELED', 'UNKNOWN'];
const NO_REASON = 'no reason given';
const NO_SPEECH = ['SUCCESS_WITH_NO_VALID_FRAGMENT', 'ASR_RESPONSE_HAVE_NO_WORDS'];

export function taskOf({ body, requestId }) {
  const output = body?.output;
  if (typeof output?.task_id !== 'string') throw malformed({ requestId });
  const status = output.task_status ?? 'UNKNOWN';
  return {
    id: output.task_id,
    status,
    isFinal: FINAL.includes(status),
    results: [output.results ?? []].flat(),
    duration: body.usage?.duration,
    requestId: body.request_id ?? requestId,
    document: body,
  };
}

export function pathOf(id) {
  if (!/^[\w-][\w.-]*$/.test(id)) throw wrong('id', 'is no name of a task');
  return `tasks/${id}`;
}

/** A task with results has ended well enough: what failed, fails file by file. */
export function checkEnded({ id, status, results, requestId, document }) {
  if (status === 'SUCCEEDED' || (status === 'FAILED' && results.length)) return;
  const { code, message } = document.output;
  const [kind, what] =
    status === 'UNKNOWN' ? ['UnknownTask', 'it expired, or never was']
    : ['TaskFailed', status === 'FAILED' ? (printable(message) ?? NO_REASON) : `it is ${status}`];
  throw ofTask(new ValetError(kind, what, { code: printable(code), requestId }), id);
}

/** Each URL with its result. The service promises no order; the same URL may be there twice. */
export function matched({ results }, urls) {
  const left = [...results];
  return urls.map((url, index) => {
    const place = left.findIndex((result) => [url, encoded(url)].includes(result?.file_url));
    return { index, url, result: place < 0 ? undefined : left.splice(place, 1)[0] };
  });
}

/** What is known of a file without its transcript: where that lies, that it is empty, or why there is none. */
export function outcomeOf(url, result) {
  if (!result) return { failure: { message: 'the task ended without a result for this file' } };
  const { subtask_status: status, transcription_url: download, code, message } = result;
  if (status === 'SUCCEEDED' && download) return { download };
  if (NO_SPEECH.includes(code)) return { transcript: { file_url: url, properties: {}, transcripts: [] } };
  return { failure: { code: printable(code || status), message: printable(message) ?? NO_REASON } };
}
