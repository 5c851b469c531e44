// Cues: what subtitles show at a time, by the usual rules of timed text; times in milliseconds.

import { cut } from './cut.js';
import { CLAUSE, SENTENCE, WORD, piecesOf, wrap } from './piece.js';
import { columns } from './text.js';

const LINES = 2;
const MIN_DURATION = 833;
const MAX_DURATION = 7000;
const MIN_GAP = 83;
const MAX_PAUSE = 1000;

// What makes a way to group worse: a cue, its fullness, each further sentence, too little time to read it, and an end
// at a word, a clause, a sentence.
const CUE = 1000;
const NEXT_SENTENCE = 2500;
const HASTE = 4000;
const AT = [500, 200, 0];
// A pause like a comma's.
const BREATH = 300;

/** The cues of a channel's turns: `{ begin, end, voice, lines }`. They follow one another in time. */
export function cuesOf(turns, { lineLength, length, interrupts, showsNames }) {
  const cues = turns.flatMap((turn) => {
    const label = showsNames && turn.voice ? columns(`${turn.voice}: `) : 0;
    // Others may interrupt a voice: then any of its cues may have to name it.
    const indent = (first) => (first === 0 || interrupts ? label : 0);
    const pieces = piecesOf(turn, Math.max(lineLength - label, 0));
    return group(pieces, lineLength, indent).map(([first, end]) => {
      const some = pieces.slice(first, end);
      const lines = wrap(some, lineLength, indent(first));
      return { begin: some[0].time[0], end: some.at(-1).time[1], voice: turn.voice, lines };
    });
  });
  pace(cues, length);
  return cues;
}

/** The pieces of each cue: of all ways that keep the rules, the one that reads best. */
function group(pieces, lineLength, indent) {
  return cut(pieces, (first) => {
    const begin = pieces[first].time[0];
    let [columns, taken, lines, sentences] = [indent(first), indent(first), 1, 0];
    let before;
    return ({ time, close, space, columns: added }, next) => {
      if (before && taken + added > lineLength) [taken, lines] = [0, lines + 1];
      taken += added + space.length;
      columns += added + space.length;
      if (before) {
        const isApart = time[0] - before.end > MAX_PAUSE || time[1] - begin > MAX_DURATION;
        if (lines > LINES || isApart) return undefined;
        sentences += before.close === SENTENCE ? 1 : 0;
      }
      const until = next ? next.time[0] : Infinity;
      before = { end: time[1], close: close === WORD && until - time[1] >= BREATH ? CLAUSE : close };
      const fullness = Math.floor((Math.min(columns, lineLength * LINES) * CUE) / (lineLength * LINES));
      const haste = until - begin < MIN_DURATION ? HASTE : 0;
      return CUE + Math.floor(fullness ** 2 / CUE) + sentences * NEXT_SENTENCE + AT[before.close] + haste;
    };
  });
}

/** Shows each cue long enough, not too long, and apart from the next, as far as there is time. */
function pace(cues, length) {
  let free = 0;
  cues.forEach((cue, place) => {
    const next = cues[place + 1]?.begin;
    const begin = Math.max(cue.begin, free);
    const until =
      next === undefined ? (length ? Math.max(length, cue.end) : Infinity)
      : next - begin >= MIN_GAP * 2 ? next - MIN_GAP
      : next;
    const end = Math.min(Math.max(cue.end, begin + MIN_DURATION), begin + MAX_DURATION, until);
    cue.begin = begin;
    cue.end = free = Math.max(end, begin + 1);
  });
}
