// Time as a parameter: what is waited for, and for how long. All times are in milliseconds.

export const SECOND = 1000;
/** The longest `Retry-After` that is waited for. */
export const LONGEST_WAIT = 60 * SECOND;
// Beyond it, `setTimeout` would not wait at all.
const LONGEST_TIMER = 2 ** 31 - 1;
const ATTEMPTS = 6;

/** The machine's clock. A test turns its own: `now()`, and `timer(time, then)`, which gives what cancels it. */
export const system = {
  now: () => performance.now(),
  timer(time, then) {
    const id = setTimeout(then, Math.min(time, LONGEST_TIMER));
    return () => clearTimeout(id);
  },
};

/** What `begin(resolve, reject)` settles, or an abort does before; what `begin` gives is called at the end. */
export function until(signal, begin) {
  return new Promise((resolve, reject) => {
    let end;
    const settling = (settle) => (outcome) => {
      signal?.removeEventListener('abort', aborted);
      end?.();
      settle(outcome);
    };
    const aborted = () => settling(reject)(signal.reason);
    signal?.throwIfAborted();
    signal?.addEventListener('abort', aborted);
    end = begin(settling(resolve), settling(reject));
  });
}

export const sleep = (clock, time, signal) => until(signal, (resolve) => clock.timer(time, resolve));

/** The outcome of what others wait for as well: one who gives up does not stop it. */
export const raced = (promise, signal) => until(signal, (resolve, reject) => void promise.then(resolve, reject));

/** Doubles up to 20 s; half of it is drawn, so that those who failed together do not come back together. */
export function backOff(failures, base) {
  return Math.min(base * 2 ** failures, 20 * SECOND) * (0.5 + Math.random() / 2);
}

/** Calls again while the error may pass, with a bounded number of jittered waits. */
export async function retried(call, clock, signal) {
  for (let failures = 0; ; failures++) {
    try {
      return await call();
    } catch (error) {
      const wait = error?.retryAfter ?? backOff(failures, SECOND / 2);
      if (!error?.isRetryable || failures + 1 >= ATTEMPTS || wait > LONGEST_WAIT) throw error;
      await sleep(clock, wait, signal);
    }
  }
}
