// What can go wrong, as one type, by what a caller can do about it. Holds no secret.

const RETRYABLE = ['Throttled', 'Unavailable', 'Unreachable', 'Lost'];
const LONGEST_TEXT = 1000;

export class ValetError extends Error {
  name = 'ValetError';

  constructor(kind, message, details) {
    super(message);
    Object.assign(this, { kind }, details);
  }

  /** Whether the same call may succeed later. */
  get isRetryable() {
    return RETRYABLE.includes(this.kind);
  }
}

/** An error of a call for a task. */
export function ofTask(error, taskId) {
  if (!(error instanceof ValetError)) return error;
  return new ValetError(error.kind, `task ${taskId}: ${error.message}`, { ...error, taskId });
}

/** An answer that nobody documents. */
export const malformed = (details) =>
  new ValetError('Malformed', 'the answer is not the documented one', details);

/** Words of the other side, if they are some, as they may stand in an error: without `secret`, on one line, bounded. */
export function printable(text, secret) {
  if (!text || typeof text !== 'string') return undefined;
  const line = (secret ? text.replaceAll(secret, '[token]') : text).replace(/\p{Cc}+/gu, ' ');
  return line.length > LONGEST_TEXT ? `${line.slice(0, LONGEST_TEXT)}…` : line;
}
