// Requests and answers: bounded in size and time, without cookies, caches or redirects; and what refusals mean.

import { SECOND, until } from './clock.js';
import { ValetError, malformed, printable } from './error.js';

export const LIMIT = 30 * SECOND;
const MAX_BODY = 4 << 20;

// Documented with 429, and waiting does not help (*Error messages*).
const USED_UP = /AllocationQuota|Purchased|Overdue/;

/** Sends a request and reads the whole answer; `body` is JSON text. Whatever was answered is no error. */
export const sender = (clock) => async (url, { method, headers, body, limit = LIMIT, most = MAX_BODY, signal }) => {
  // Of all failures, the only one in which surely nothing was sent.
  if (globalThis.navigator?.onLine === false) throw new ValetError('Unreachable', 'this device is offline');
  const { host } = new URL(url);
  return until(signal, (resolve, reject) => {
    const stop = new AbortController();
    const cancel = clock.timer(limit, () => reject(new ValetError('Lost', 'no answer came in time')));
    const sent = fetch(url, {
      method,
      headers: body ? { 'Content-Type': 'application/json', ...headers } : headers,
      body,
      signal: stop.signal,
      credentials: 'omit',
      cache: 'no-store',
      redirect: 'error',
      referrerPolicy: 'no-referrer',
    });
    // A browser does not say why it gives no answer.
    const why = `${host} was not reached, or this origin is none of the app's`;
    const failed = (error) => reject(error.kind ? error : new ValetError('Lost', why));
    sent.then((response) => answerOf(response, most)).then(resolve, failed);
    return () => {
      cancel();
      stop.abort();
    };
  });
};

async function answerOf(response, most) {
  const { ok, status, headers } = response;
  const decoder = new TextDecoder();
  const reader = response.body?.getReader();
  let [size, text] = [0, ''];
  for (let part; reader && !(part = await reader.read()).done; ) {
    size += part.value.length;
    if (size > most) {
      reader.cancel().catch(() => {});
      throw malformed({ status });
    }
    text += decoder.decode(part.value, { stream: true });
  }
  let body;
  try {
    body = JSON.parse(text + decoder.decode());
  } catch {}
  if (ok && !(body instanceof Object)) throw malformed({ status });
  const seconds = Number(headers.get('Retry-After'));
  return {
    ok,
    status,
    body,
    requestId: headers.get('x-request-id') ?? undefined,
    // One of no time at all, as some proxies have it, says nothing.
    retryAfter: seconds >= 1 ? seconds * SECOND : undefined,
    // RFC 7240: whether the answer was held back until there was something to tell.
    isHeld: /\bwait\b/.test(headers.get('Preference-Applied') ?? ''),
  };
}

/** What a refusal means, in the words of the relay and DashScope (*Error messages*) or of a problem document. */
export function refusal({ status, body, requestId, retryAfter }, secret) {
  // One who repeats a token does not get it into our errors.
  const said = (text) => printable(text, secret);
  const { message = body?.detail, request_id: id = requestId } = body ?? {};
  const code = said(body?.code);
  const kind =
    status === 401 ? 'Credentials'
    : code === 'SubmitOutcomeUnknown' ? 'Ambiguous'
    : status === 429 && !USED_UP.test(code) ? 'Throttled'
    : status === 408 || status >= 500 ? 'Unavailable'
    : 'Refused';
  const details = { status, code, requestId: said(id), retryAfter };
  return new ValetError(kind, said(message) ?? `status ${status}, no reason given`, details);
}

/** A URL that secrets may be sent to, without a slash at the end: encrypted, or on this machine. */
export function confidential(name, url) {
  if (/^(https:\/\/|http:\/\/(localhost|127\.0\.0\.1|\[::1\])(?![^:/]))/.test(url)) return url.replace(/\/+$/, '');
  throw new ValetError('Configuration', `${name}: must begin with https://`);
}
