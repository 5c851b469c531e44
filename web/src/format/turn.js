// What is said on a channel: the words in order, each with a time, in turns of one voice.

import { append, columns, isSilent, part } from './text.js';
import { settle } from './times.js';

/** A transcript without what is null or of another type than the documented one: that says nothing. */
export function sound(transcript) {
  const said = (key, value) => {
    // Texts; times, ids and lengths; and all that holds others.
    const type = /^(text|punctuation)$/.test(key) ? 'string' : /_/.test(key) ? 'number' : 'object';
    if (value === null || typeof value !== type) return undefined;
    return /^(transcripts|sentences|words)$/.test(key) ? [value].flat() : value;
  };
  return JSON.parse(JSON.stringify(transcript), said) ?? {};
}

/** What each voice of a channel says until another one does: `{ voice, text, words: [{ start, end, time, ends }] }`. */
export function turnsOf(channel, length, shown) {
  const turns = [];
  const claims = [];
  for (const sentence of sentencesOf(channel)) {
    const words = wordsOf(sentence);
    if (!words.length) continue;
    const spoken = words.map((word) => ({ ...word, columns: columns(word.text) }));
    claims.push({ begin: sentence.begin_time ?? 0, end: sentence.end_time ?? 0, spoken });
    const voice = voiceOf(channel, sentence, shown);
    let turn = turns.at(-1);
    if (turn?.voice !== voice) turns.push((turn = { voice, text: '', words: [] }));
    say(turn, words);
  }
  const times = settle(claims, length);
  turns.flatMap(({ words }) => words).forEach((word, place) => (word.time = times[place]));
  return turns;
}

/** Whose words they are, as far as more than one is possible: counted from 1, where the service counts from 0. */
export function voiceOf({ channel_id: channel = 0 }, { speaker_id: speaker }, { speakers, channels }) {
  const named = channels ? [`Channel ${channel + 1}`] : [];
  if (speakers && speaker !== undefined) named.push(`${channels ? 's' : 'S'}peaker ${speaker + 1}`);
  return named.join(', ');
}

/** Adds a sentence; its times are set later. The space before a word is part of the one before it. */
function say(turn, words) {
  turn.text = part(turn.text, words[0].text);
  for (const { text } of words) {
    if (isSilent(text[0])) turn.text = append(turn.text, ' ');
    const start = turn.text.length;
    if (turn.words.length) turn.words.at(-1).end = start;
    turn.text = append(turn.text, text);
    turn.words.push({ start, end: turn.text.length, ends: false });
  }
  turn.words.at(-1).ends = true;
}

/** The sentences, or all of the text as one if they are silent. */
function sentencesOf({ sentences = [], text = '' }) {
  return sentences.some((sentence) => wordsOf(sentence).length) ? sentences : [{ text }];
}

/** The words of a sentence, or all of its text as one if they are silent. None is blank. */
function wordsOf({ words = [], text = '' }) {
  const spoken = [];
  for (const { text: word = '', punctuation = '', begin_time: begin = 0, end_time: end = 0 } of words) {
    const bare = punctuation ? word.trimEnd() : word;
    const whole = bare + punctuation + word.slice(bare.length);
    if (!isSilent(whole)) spoken.push({ text: whole, begin, end });
    else if (spoken.length) spoken.at(-1).text += whole;
  }
  return spoken.length || isSilent(text) ? spoken : [{ text, begin: 0, end: 0 }];
}
