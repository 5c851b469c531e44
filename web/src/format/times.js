// When words are spoken, in milliseconds: the times of the document where they can be right, estimates elsewhere.

// A recording has at most 12 hours (*Fun-ASR recording*); a stamp has room for a day.
const LATEST = 23 * 3600 * 1000;
// How long a column of text is taken to be spoken if nothing says so.
const COLUMN = 67;

/**
 * The times of all words, in order and apart from each other, in a recording that lasts `length` (0: unknown). A
 * word's time is believed if it is within its sentence and after the words before; what is not is spread over what is
 * left.
 */
export function settle(sentences, length) {
  const limit = Math.min(length || LATEST, LATEST);
  const words = [];
  let clock = 0;
  for (const { begin, end, spoken } of sentences) {
    const within = [Math.max(begin, clock), Math.min(end, limit)];
    const isKnown = within[0] < within[1];
    const [from, to] = isKnown ? within : [clock, limit];
    const sentence = spoken.map((word) => {
      const start = Math.max(word.begin, clock, from);
      const isBelieved = start < word.end && word.end <= to;
      if (isBelieved) clock = word.end;
      return { columns: word.columns, time: isBelieved ? [start, word.end] : undefined };
    });
    if (isKnown) {
      spread(sentence, from, to);
      clock = sentence.at(-1).time[1];
    }
    words.push(...sentence);
  }
  spread(words, 0, length ? limit : Math.min(limit, clock + unheard(words)));
  return words.map(({ time }) => time);
}

/** Gives a time to all that have none: between those around them, or else within the bounds. */
function spread(words, from, to) {
  for (let first = 0, next = 0; first < words.length; first = ++next) {
    while (words[next] && !words[next].time) next++;
    const some = words.slice(first, next);
    const share = Math.max((words[next]?.time[0] ?? to) - from, 0);
    const at = (columns) => from + Math.floor((share * columns) / sum(some));
    let before = 0;
    for (const word of some) word.time = [at(before), at((before += word.columns))];
    from = words[next]?.time[1];
  }
}

function unheard(words) {
  return sum(words.slice(words.findLastIndex((word) => word.time) + 1)) * COLUMN;
}

const sum = (words) => words.reduce((sum, word) => sum + word.columns, 0);
