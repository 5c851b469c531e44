// Text as it may stand in a line of a file: blanks, widths, and where a line may break (UAX #14, as far as it
// concerns languages that Fun-ASR knows).

const BLANKS = /[\s\p{Cc}]+/gu;
// East Asian wide and full-width characters (UAX #11), as far as they are in use.
const WIDE =
  /(?![\uff61-\uffdc])[\p{sc=Han}\p{sc=Hang}\p{sc=Kana}\u3000-\u33ff\ufe30-\ufe6f\uff01-\uffe6\p{Emoji_Presentation}]/u;
const NO_WIDTH = /[\p{Mn}\p{Me}\p{Cf}]/u;

// Classes of UAX #14: what begins no line, even after a space (CL, CP, EX, IS, SY), or without one (NS, IN, CM); what
// ends none (OP); what holds both sides (QU, GL, WJ).
const CLOSES = /[\p{Pe}!?,.:;/、。！？，．：；｡､]/u;
const FOLLOWS = /[-‐–\p{M}\u200dぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶー々〻ゝゞヽヾ・…]/u;
const OPENS = /[\p{Ps}¡¿]/u;
const HOLDS = /["'\p{Pi}\p{Pf}\u00a0\u202f\u2060]/u;

export const isSilent = (text) => !text.replace(BLANKS, '');
export const isWide = (char) => WIDE.test(char);

/** `line` and `text`, with one space for any blanks in a row, and none at the beginning of the line. */
export function append(line, text) {
  const added = text.replace(BLANKS, ' ');
  return line + (!line || line.endsWith(' ') ? added.replace(/^ /, '') : added);
}

/** Ends a sentence before `next`: with a space, unless one of them is of a script without spaces. */
export function part(line, next) {
  const [before, after] = [Array.from(line).at(-1), Array.from(next)[0]];
  const open = (char) => char && !isSilent(char) && !isWide(char);
  return open(before) && open(after) ? `${line} ` : line;
}

/** `text` on one line, without space around it. */
export const oneLine = (text) => append('', text).trimEnd();

/** The columns that `text` takes: two for a full-width character; at least one in all. */
export function columns(text) {
  let sum = 0;
  for (const char of text) sum += isWide(char) ? 2 : NO_WIDTH.test(char) ? 0 : 1;
  return Math.max(sum, 1);
}

/** Whether a line may break before `at`. */
export function mayBreak(text, at) {
  const before = text.slice(Math.max(0, at - 20), at).replace(/(.)[\p{M}\u200d]+$/u, '$1');
  const [last, after] = [Array.from(before).at(-1), String.fromCodePoint(text.codePointAt(at))];
  if (isSilent(after) || CLOSES.test(after)) return false;
  if (isSilent(last)) return !OPENS.test(before.trimEnd().slice(-1));
  if (HOLDS.test(last + after) || FOLLOWS.test(after) || OPENS.test(last)) return false;
  if (/[-‐–/]/.test(last)) return !/\p{Nd}/u.test(after);
  if (isWide(last)) return !/[%‰℃°]/.test(after);
  return /[!?—]/.test(last) || after === '—' || (isWide(after) && !/[$£¥€]/.test(last));
}
