// The calls of the relay, each with a token that lives.

import { SECOND, retried } from './clock.js';
import { refusal } from './http.js';
import { checked } from './request.js';
import { FLOOR } from './tokens.js';

// A result may hold twelve hours of words, on several channels.
const DOWNLOAD = { limit: 300 * SECOND, most: 256 << 20 };
/** A call takes a moment, and its token must live when it is read. */
export const CALL_LIFE = 10 * SECOND;

export function apiOf(send, tokens, clock) {
  /**
   * One call; on a 401, which is a refusal, the token is renewed and the call made once more. `failed` says what an
   * error of the call itself means; one that kept us from making it stays as it is.
   */
  async function call(method, path, { headers, signal, failed = (error) => Promise.reject(error), ...rest }) {
    const once = async () => {
      const { token, baseUrl } = await tokens.living(CALL_LIFE, signal);
      const options = { ...rest, method, signal, headers: { Authorization: `Bearer ${token}`, ...headers } };
      return [await send(`${baseUrl}/${path}`, options).catch(failed), token];
    };
    let [answer, token] = await once();
    if (answer.status === 401) {
      tokens.refuse(token);
      [answer, token] = await once();
    }
    return answer.ok ? answer : failed(refusal(answer, token));
  }

  /** A call that may be made again if it fails. */
  const again = (method, path, options) =>
    retried(() => call(method, path, options), clock, options.signal);

  const token = (signal) => retried(() => tokens.living(FLOOR, signal), clock, signal);

  /** Reads a result. The relay's own may ask for a token; no other host gets to see it. */
  async function download(url, signal) {
    checked('transcription_url', url);
    const options = { ...DOWNLOAD, signal };
    const read = async () => {
      const { baseUrl } = await tokens.living(FLOOR, signal);
      if (url.startsWith(`${baseUrl}/`)) return call('GET', url.slice(baseUrl.length + 1), options);
      const answer = await send(url, options);
      if (!answer.ok) throw refusal(answer);
      return answer;
    };
    return (await retried(read, clock, signal)).body;
  }

  return { call, again, token, download };
}
