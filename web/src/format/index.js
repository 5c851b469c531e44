// Transcripts as files: plain text, SubRip, WebVTT, the document itself; as Valet's other client writes them.
// Nothing here fails, whatever a transcript holds: what is written is valid.

import { cuesOf } from './cue.js';
import { isSilent, isWide, oneLine, part } from './text.js';
import { sound, turnsOf } from './turn.js';

const LATIN = 42;
const FULL_WIDTH = 32;

/** What subtitles show at a time: `[{ begin, end, voice, lines }]`, by when it appears; times in milliseconds. */
export function cues(transcript, options) {
  return laidOut(transcript, options, true);
}

/** Cues where the name of a voice takes room on a line, or none. */
function laidOut(transcript, options, showsNames) {
  const { channels, length } = read(transcript, options);
  const lineLength = options?.lineLength ?? usualLength(channels.flat());
  const rules = { lineLength, length, interrupts: channels.length > 1, showsNames };
  return channels.flatMap((turns) => cuesOf(turns, rules)).sort((a, b) => a.begin - b.begin);
}

/** As plain text: where voices are told apart, each line is what one says until another does. */
export function txt(transcript, options) {
  const said = read(transcript, options).channels.flat().flatMap(sentencesOf);
  const lines = [];
  for (const { voice, text } of said.sort((a, b) => a.begin - b.begin)) {
    const line = lines.at(-1);
    if (line?.voice === voice) line.text = part(line.text, text) + text;
    else lines.push({ voice, text });
  }
  return lines.map(({ voice, text }) => `${labelOf(voice)}${text}\n`).join('');
}

/** As SubRip. It has no way to escape: what could be taken for the times of a cue is written as an arrow. */
export function srt(transcript, options) {
  let speaking = '';
  return cues(transcript, options)
    .map(({ begin, end, voice, lines }, place) => {
      const label = voice === speaking ? '' : labelOf(voice);
      speaking = voice;
      const text = lines.join('\n').replaceAll('-->', '→');
      return `${place + 1}\n${stamp(begin, ',')} --> ${stamp(end, ',')}\n${label}${text}\n\n`;
    })
    .join('');
}

/** As WebVTT (W3C): voices are voice spans, which are not shown. */
export function vtt(transcript, options) {
  const written = laidOut(transcript, options, false).map(({ begin, end, voice, lines }) => {
    const text = lines.join('\n').replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
    return `${stamp(begin, '.')} --> ${stamp(end, '.')}\n${voice && `<v ${voice}>`}${text}\n\n`;
  });
  return `WEBVTT\n\n${written.join('')}`;
}

/** The transcript as the service wrote it. */
export function json(transcript) {
  return `${JSON.stringify(transcript)}\n`;
}

/** How long the recording is (0: unknown), and the turns of each channel. */
function read(transcript, { speakers = true } = {}) {
  const { transcripts = [], properties: { original_duration_in_milliseconds: length = 0 } = {} } = sound(transcript);
  const shown = { speakers, channels: transcripts.length > 1 };
  return { length, channels: transcripts.map((channel) => turnsOf(channel, length, shown)) };
}

const labelOf = (voice) => voice && `${voice}: `;

function sentencesOf({ voice, text, words }) {
  const sentences = [];
  let first;
  for (const word of words) {
    first ??= word;
    if (!word.ends) continue;
    sentences.push({ voice, begin: first.time[0], text: oneLine(text.slice(first.start, word.end)) });
    first = undefined;
  }
  return sentences;
}

/** 32 columns, which are 16 Chinese characters, if most of the text is full-width, and 42 otherwise. */
function usualLength(turns) {
  let balance = 0;
  for (const { text } of turns) {
    for (const char of text) if (!isSilent(char)) balance += isWide(char) ? 1 : -1;
  }
  return balance > 0 ? FULL_WIDTH : LATIN;
}

function stamp(time, point) {
  // No time is beyond a day.
  return new Date(time).toISOString().slice(11, 23).replace('.', point);
}
