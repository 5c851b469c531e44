// A relay in the place of `fetch`, whose answers a test writes, and a clock that only the test turns.

import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';

// As every browser has it; older releases of Node do not.
globalThis.crypto ??= webcrypto;

export const BROKER = 'https://valet.example.com';
export const BASE = `${BROKER}/api/v1`;

/** Time that stands still until it is turned. */
export class Clock {
  #now = 0;
  #timers = new Set();

  now = () => this.#now;

  timer = (time, then) => {
    const timer = { at: this.#now + time, then };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  };

  /** The times, from now, at which something is due, the soonest first. */
  due() {
    return [...this.#timers].map(({ at }) => at - this.#now).sort((a, b) => a - b);
  }

  /** Turns the time, and lets everything happen that it brings. */
  async advance(time) {
    const end = this.#now + time;
    for (;;) {
      await settled();
      const next = [...this.#timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.then();
    }
    this.#now = end;
    await settled();
  }
}

/** Everything that waits for nothing but its turn has had it. */
export async function settled() {
  for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
}

/** Answers calls by what `routes` says of them: `{ 'POST /api/v1/tasks/wait': (call) => answer }`. */
export class Relay {
  calls = [];

  constructor(routes) {
    this.routes = routes;
    this.clock = new Clock();
    globalThis.fetch = (url, init) => this.#answer(url, init);
  }

  /** The calls of a kind, as `POST /v1/tokens`. */
  of(kind) {
    return this.calls.filter((call) => call.kind === kind);
  }

  async #answer(url, init) {
    const { pathname, origin } = new URL(url);
    const headers = new Headers(init.headers);
    const call = { kind: `${init.method ?? 'GET'} ${pathname}`, url, origin, headers, init, at: this.clock.now() };
    call.body = init.body === undefined ? undefined : JSON.parse(init.body);
    this.calls.push(call);
    const key = Object.keys(this.routes).find((key) => matches(key, call.kind));
    assert(key, `nothing answers ${call.kind}`);
    const aborted = new Promise((_, reject) => {
      init.signal.addEventListener('abort', () => reject(init.signal.reason));
    });
    aborted.catch(() => {});
    const answer = await Promise.race([this.routes[key](call), aborted]);
    if (answer instanceof Error) throw answer;
    const { status = 200, body, headers: more = {} } = answer;
    const text = typeof body === 'string' ? body : JSON.stringify(body ?? {});
    return new Response(text, { status, headers: { 'x-request-id': 'request-1', ...more } });
  }
}

function matches(key, kind) {
  const [pattern, said] = [key.split('/'), kind.split('/')];
  return pattern.length === said.length && pattern.every((part, place) => part === '*' || part === said[place]);
}

/** Answers of a broker: a new token each time, which lives so many seconds. */
export function tokens(seconds = 60) {
  let count = 0;
  return () => ({ body: { token: `relay-token-${++count}`, base_url: BASE, expires_in: seconds } });
}

export const task = (id, status, more = {}) => ({
  request_id: 'request-1',
  output: { task_id: id, task_status: status, ...more },
});

export const refused = (status, code, headers) => ({ status, headers, body: { code, message: `${code}.`, request_id: 'r-2' } });

/** What a promise is rejected with. */
export async function rejection(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  assert.fail('it was not rejected');
}
