// A file's transcript as it is shown: sentences with times and voices, each of which can be heard; and as files.

import { made } from './element.js';
import { playerOf } from './player.js';
import { sound, voiceOf } from './valet/format/turn.js';
import * as files from './valet/index.js';

const FORMATS = [
  ['txt', 'text/plain'],
  ['srt', 'application/x-subrip'],
  ['vtt', 'text/vtt'],
  ['json', 'application/json'],
];

/** What came of a file. */
export function shown({ index, url, transcript, failure }) {
  const article = made('article', { ariaLabel: nameOf(url) }, made('h3', { textContent: nameOf(url) }));
  if (failure) {
    const text = [failure.message, failure.code && `(${failure.code})`].filter(Boolean).join(' ');
    article.append(made('p', { className: 'problem', textContent: text }));
    return article;
  }
  const sentences = sentencesOf(transcript);
  if (!sentences.length) {
    article.append(made('p', { textContent: 'There is no speech in it.' }));
    return article;
  }
  const player = playerOf(url, index);
  const list = made('ol', { className: 'sentences' });
  for (const sentence of sentences) list.append(made('li', {}, spoken(sentence, player)));
  const note = made('p', { className: 'note', textContent: 'Press a sentence to hear it.' });
  article.append(player.element, note, list, downloads(url, transcript));
  return article;
}

/** A sentence that is heard when it is pressed. */
function spoken({ begin, end, voice, text }, player) {
  const button = made('button', { type: 'button' });
  const time = made('time', { textContent: clock(begin), dateTime: `PT${(begin / 1000).toFixed(3)}S` });
  // The spaces are for those who hear it.
  button.append(time, ' ');
  if (voice) button.append(made('span', { className: 'voice', textContent: voice }), ' ');
  button.append(made('span', { textContent: text }));
  player.plays(button, begin, end);
  return button;
}

/** What is said, as the module's files have it; all of a channel's text, if it has no sentences. */
function sentencesOf(transcript) {
  const { transcripts: channels = [] } = sound(transcript);
  const shown = { speakers: true, channels: channels.length > 1 };
  const all = channels.flatMap((channel) => {
    const { sentences = [], text } = channel;
    return (sentences.length ? sentences : [{ text }]).map((sentence) => {
      const { begin_time: begin = 0, end_time: end = Infinity, text = '' } = sentence;
      return { begin, end, text, voice: voiceOf(channel, sentence, shown) };
    });
  });
  return all.filter(({ text }) => text.trim()).sort((a, b) => a.begin - b.begin);
}

function downloads(url, transcript) {
  const buttons = FORMATS.map(([format, type]) => {
    const button = made('button', { type: 'button', className: 'plain', textContent: format });
    button.setAttribute('aria-label', `Download ${format} of ${nameOf(url)}`);
    button.addEventListener('click', () => {
      const href = URL.createObjectURL(new Blob([files[format](transcript)], { type }));
      made('a', { href, download: `${nameOf(url).replace(/\.[^.]*$/, '')}.${format}` }).click();
      // The browser has taken it by then.
      setTimeout(() => URL.revokeObjectURL(href), 60_000);
    });
    return button;
  });
  return made('p', { className: 'actions' }, made('span', { className: 'note', textContent: 'Download' }), ...buttons);
}

function nameOf(url) {
  const last = new URL(url).pathname.split('/').pop();
  try {
    return decodeURIComponent(last) || url;
  } catch {
    return last;
  }
}

function clock(time) {
  const seconds = Math.floor(time / 1000);
  const two = (number) => `${number}`.padStart(2, '0');
  const short = `${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  return seconds < 3600 ? short : `${Math.floor(seconds / 3600)}:${short}`;
}
