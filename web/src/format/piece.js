// Pieces of text that neither a line nor a cue breaks, and lines made of them.

import { cut } from './cut.js';
import { columns, mayBreak } from './text.js';

/** What ends with a piece. */
export const WORD = 0;
export const CLAUSE = 1;
export const SENTENCE = 2;

/** Cuts a turn where a line may break and a word ends; what is wider than `most`, inside of words as well. */
export function piecesOf({ text, words }, most) {
  const pieces = [];
  let [start, first, last] = [0, 0, 0];
  const add = (end) => {
    while (words[first].end <= start) first++;
    while (words[last].end < end) last++;
    pieces.push(pieceOf(text, [start, end], words[first], words[last]));
    start = end;
  };
  for (const { end } of words) {
    if (end < text.length && !mayBreak(text, end)) continue;
    if (columns(text.slice(start, end).trimEnd()) > most) {
      for (let at = start + 1; at < end; at++) {
        if (!/[\udc00-\udfff]/.test(text[at]) && mayBreak(text, at)) add(at);
      }
    }
    add(end);
  }
  return pieces;
}

function pieceOf(text, [start, end], first, last) {
  const whole = text.slice(start, end);
  const shown = whole.trimEnd();
  const isEnd = last.ends && last.end === end;
  const close = isEnd ? SENTENCE : /[^\p{Alphabetic}\p{N}]$/u.test(shown) ? CLAUSE : WORD;
  const time = [saidAt(text, first, start), saidAt(text, last, end)];
  return { text: shown, space: whole.slice(shown.length), columns: columns(shown), time, close };
}

/** When a word has been said as far as a position in it: by its length in UTF-8. */
function saidAt(text, { start, end, time: [from, to] }, position) {
  const length = (end) => new TextEncoder().encode(text.slice(start, end)).length;
  return from + Math.floor(((to - from) * length(position)) / length(end));
}

// A line that breaks where nothing pauses; a full one counts a thousand, both by the square of their fullness; and the
// fewest lines, whatever the rest costs.
const AT_WORD = 150;
const LINE = 1e6;

/** In as few lines as there can be; of all ways to do so, where they are even and break after a clause. */
export function wrap(pieces, length, indent) {
  const lines = cut(pieces, (first) => {
    let [taken, isFresh] = [first ? 0 : indent, true];
    return (piece, next) => {
      if (!isFresh && taken + piece.columns > length) return undefined;
      isFresh = false;
      taken += piece.columns + piece.space.length;
      const fullness = Math.floor((Math.min(taken, length) * 1000) / length);
      return LINE + Math.floor(fullness ** 2 / 1000) + (next && piece.close === WORD ? AT_WORD : 0);
    };
  });
  const join = (part) => part.map(({ text, space }) => text + space).join('').trimEnd();
  return lines.map((part) => join(pieces.slice(...part)));
}
