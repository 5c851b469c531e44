// Waits for tasks: up to a hundred in one request, which the relay holds until there is something to tell, since a
// browser has few connections. Where answers are not held, tasks are looked at less and less often.

import { CALL_LIFE } from './api.js';
import { LONGEST_WAIT, SECOND, backOff, sleep, until } from './clock.js';
import { ValetError, ofTask } from './error.js';
import { LIMIT } from './http.js';
import { pathOf, taskOf } from './task.js';
import { FLOOR } from './tokens.js';

// How long the relay is asked to hold an answer, in seconds, and how many tasks one request may name.
const HOLD = 30;
const MOST_TASKS = 100;
const QUICKEST = SECOND;
const SLOWEST = 5 * SECOND;
// After an answer that was held; one that came sooner than a second counts as not held.
const PAUSE = SECOND / 4;

/** What waits for the end of a task. */
export function poller(api, tokens, clock) {
  const lanes = new Set();

  function wait(id, { signal, deadline, onProgress }) {
    return until(signal, (resolve, reject) => {
      const failed = (error) => reject(ofTask(error, id));
      const watch = { id, onProgress, resolve, reject: failed };
      const late = () => failed(new ValetError('Deadline', 'has not ended by the deadline; it goes on'));
      const cancel = deadline < Infinity ? clock.timer(deadline, late) : undefined;
      const lane = [...lanes].find((lane) => lane.ids().has(id) || lane.ids().size < MOST_TASKS) ?? new Lane();
      lanes.add(lane);
      lane.watches.add(watch);
      // An answer that is held for the others does not speak of this task.
      lane.wake.abort();
      lane.polling ??= poll(lane);
      return () => {
        cancel?.();
        lane.watches.delete(watch);
        if (!lane.watches.size) lane.wake.abort();
      };
    });
  }

  async function poll(lane) {
    let [quiet, failures] = [0, 0];
    // Those who begin to wait together are asked for together.
    await undefined;
    while (lane.watches.size) {
      lane.wake = new AbortController();
      const { signal } = lane.wake;
      const rest = (time) => sleep(clock, Math.min(time, LONGEST_WAIT), signal);
      try {
        const { tasks, pause } = await look([...lane.ids()], signal);
        const isNews = tasks.filter((task) => lane.tell(task)).length;
        [quiet, failures] = [isNews ? 0 : quiet + 1, 0];
        if (lane.watches.size) await rest(pause ?? Math.min(QUICKEST * 1.3 ** quiet, SLOWEST));
      } catch (error) {
        // Somebody came or went.
        if (signal.aborted) continue;
        if (error?.isRetryable) {
          await rest(error.retryAfter ?? backOff(failures++, SECOND)).catch(() => {});
        } else {
          for (const watch of [...lane.watches]) watch.reject(error);
        }
      }
    }
    lanes.delete(lane);
  }

  /** The tasks, and how long not to ask again, unless that is a matter of how long there was no news. */
  async function look(ids, signal) {
    const { dies } = await tokens.living(CALL_LIFE, signal);
    const asked = clock.now();
    const hold = Math.max(1, Math.floor(Math.min(HOLD, (dies - asked - FLOOR) / SECOND)));
    const options = { headers: { Prefer: `wait=${hold}` }, limit: LIMIT + hold * SECOND, signal };
    const answer =
      ids.length > 1
        ? await api.call('POST', 'tasks/wait', { ...options, body: JSON.stringify({ task_ids: ids }) })
        : await api.call('GET', pathOf(ids[0]), options);
    const { body, retryAfter, isHeld } = answer;
    const tasks = [body.tasks ?? body].flat().map((body) => taskOf({ ...answer, body }));
    const wasHeld = isHeld && clock.now() - asked >= SECOND;
    return { tasks, pause: retryAfter ?? (wasHeld ? PAUSE : undefined) };
  }

  return wait;
}

/** Tasks that are waited for in one request. */
class Lane {
  watches = new Set();
  wake = new AbortController();

  ids() {
    return new Set([...this.watches].map((watch) => watch.id));
  }

  /** Tells those who wait for a task. Whether it was news to any of them. */
  tell(task) {
    let isNews = false;
    for (const watch of [...this.watches].filter(({ id }) => id === task.id)) {
      isNews ||= watch.status !== task.status;
      watch.status = task.status;
      try {
        watch.onProgress?.(task);
        if (task.isFinal) watch.resolve(task);
      } catch (error) {
        watch.reject(error);
      }
    }
    return isNews;
  }
}
