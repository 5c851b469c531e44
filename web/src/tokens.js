// A token that lives is always at hand: renewed before its end, by one call at a time, kept when a renewal fails.
// It is kept in memory alone. Nothing above it notices that tokens expire.

import { SECOND, raced } from './clock.js';
import { ValetError, malformed } from './error.js';
import { confidential, refusal } from './http.js';

/** A token is not used in the last moments of its life: it would die on its way. */
export const FLOOR = 2 * SECOND;
// A renewal that failed is tried again after so long, while a token lives.
const RETRY = SECOND;
const TOKEN = /^[!-~]+$/;

/** The token at hand. `source` gives the next one, or an ID token to exchange at `broker`. */
export function tokensOf(source, broker, send, clock) {
  if (typeof source !== 'function') throw new ValetError('Configuration', 'token: must be a function');
  const exchange = broker && `${confidential('broker', broker)}/v1/tokens`;
  let held;
  let renewing;

  /** A token that lives for another `life`, or for as long as is to be had: `{ token, baseUrl, dies }`. */
  async function living(life, signal) {
    signal?.throwIfAborted();
    const now = clock.now();
    const kept = held;
    if (!kept || now + FLOOR >= kept.dies) return raced(renew(), signal);
    // One that may do is better than none.
    if (now + life >= kept.dies) return raced(renew().catch(() => kept), signal);
    if (now >= kept.renews) renew().catch(() => {});
    return kept;
  }

  /** `token` was refused: it is not used again. */
  function refuse(token) {
    if (held?.token === token) held = undefined;
  }

  function renew() {
    renewing ??= obtain().finally(() => {
      renewing = undefined;
    });
    return renewing;
  }

  async function obtain() {
    try {
      let asked = clock.now();
      let body = await source();
      if (typeof body === 'string') {
        asked = clock.now();
        body = await exchanged(body);
      }
      const { token = body?.access_token, base_url: baseUrl, expires_in: seconds } = body ?? {};
      const life = seconds * SECOND;
      if (!TOKEN.test(token ?? '') || !(life >= 0)) throw malformed();
      if (life <= FLOOR) throw new ValetError('Credentials', 'the sign-in has ended');
      // The last third of a life is time enough for several tries.
      const renews = asked + (life * 2) / 3;
      return (held = { token, baseUrl: confidential('base_url', baseUrl), dies: asked + life, renews });
    } catch (error) {
      if (held) held.renews = clock.now() + RETRY;
      throw error;
    }
  }

  /** What the broker gives for the user's ID token. */
  async function exchanged(idToken) {
    if (!exchange) throw new ValetError('Configuration', 'broker: is needed to exchange an ID token');
    if (!TOKEN.test(idToken)) throw new ValetError('Malformed', 'token: gave none');
    const answer = await send(exchange, { method: 'POST', headers: { Authorization: `Bearer ${idToken}` } });
    if (!answer.ok) throw refusal(answer, idToken);
    return answer.body;
  }

  return { living, refuse };
}
