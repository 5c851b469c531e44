// Transcripts as files: the same, to the byte, as Valet's client in Rust writes them.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { cues, json, srt, txt, vtt } from '../src/index.js';

const samples = JSON.parse(readFileSync(new URL('transcripts.json', import.meta.url), 'utf8'));

const files = {
  txt,
  srt,
  vtt,
  'srt without speakers': (transcript) => srt(transcript, { speakers: false }),
  'vtt of 20 columns': (transcript) => vtt(transcript, { lineLength: 20 }),
};

for (const [place, sample] of samples.entries()) {
  test(`${sample.name} (${place}) comes out as the client in Rust writes it`, () => {
    for (const [name, write] of Object.entries(files)) assert.equal(write(sample.transcript), sample[name], name);
  });
}

test('whatever a transcript holds, what is written is in order and nothing is said twice or lost', () => {
  const texts = ['', ' ', '-->', '<v x>', '&amp;', '\n\n', '\t', '\0', '\u2028', 'é', '\u200b', '，', '»', 'עברית', '👩‍👩‍👧', '\ud800', 'a-b/c', 'มานี', '会议'];
  const times = [0, 1, 1.5, 5000, 1e19, -5, null, undefined];
  // Always the same draws.
  let seed = 1;
  const draw = (list) => list[(seed = (seed * 16807) % 2147483647) % list.length];
  const many = (make) => Array.from({ length: draw([0, 1, 2, 5]) }, make);
  const time = () => ({ begin_time: draw(times), end_time: draw(times) });
  const word = () => ({ ...time(), text: draw(texts), punctuation: draw(texts) });
  const sentence = () => ({ ...time(), text: draw(texts), words: many(word), speaker_id: draw([undefined, null, 0, 1]) });
  const channel = () => ({ channel_id: draw([0, 1, undefined]), text: draw(texts), sentences: many(sentence) });
  const heard = (text) => text.replace(/[\s\p{Cc}]/gu, '');
  for (let round = 0; round < 2000; round++) {
    const transcript = { properties: { original_duration_in_milliseconds: draw(times) }, transcripts: many(channel) };
    for (const write of [srt, vtt, txt, json]) assert.equal(typeof write(transcript), 'string');
    const all = cues(transcript, { speakers: false });
    for (const { begin, end } of all) assert(begin >= 0 && begin < end, JSON.stringify(all));
    if (transcript.transcripts.length !== 1) continue;
    const [{ text, sentences }] = transcript.transcripts;
    const said = sentences.map(({ text, words }) => {
      const spoken = heard(words.map(({ text, punctuation }) => text + punctuation).join(''));
      return spoken || heard(text);
    });
    assert.equal(heard(all.flatMap(({ lines }) => lines).join('')), said.join('') || heard(text));
  }
});

test('what a transcript does not say, or says with null, is not made up', () => {
  const spoken = { text: 'Yes', punctuation: null, begin_time: null, end_time: null, speaker_id: null };
  const sentence = { begin_time: 0, end_time: 1000, speaker_id: null, text: 'Yes', words: [spoken, null] };
  const channels = [
    { channel_id: null, text: null, sentences: [sentence, null] },
    { text: 'No', sentences: null },
    { text: 'Well', sentences: [{ text: 'Well', words: null, begin_time: null, end_time: null }] },
    null,
  ];
  assert.match(txt({ properties: null, transcripts: channels }), /^Channel 1: (?=.*Yes)(?=.*No)(?=.*Well)[YesNoWell ]+\n$/);
  assert.equal(txt({ transcripts: [channels[0]] }), 'Yes\n');
  assert.equal(txt({ transcripts: null }), '');
  for (const write of [srt, vtt, json]) assert(!write({ transcripts: [channels[0]] }).includes('undefined'));
  assert(!srt({ transcripts: channels }).includes('null'));
  assert.equal(JSON.parse(json({ transcripts: channels })).transcripts[3], null, 'the document itself is as it was');
});

test('what is of another type than the documented one says nothing, and spoils nothing else', () => {
  const types = [7, 'text', true, null, [], [7], [[null]], {}, { text: 7 }, { toString: 1, valueOf: 1 }, { __proto__: null, length: 'x' }];
  const word = { text: 'Yes', punctuation: '.', begin_time: 0, end_time: 900 };
  const sentence = { ...word, speaker_id: 0, words: [word] };
  const channel = { channel_id: 0, text: 'Yes.', sentences: [sentence] };
  const whole = { properties: { original_duration_in_milliseconds: 5000 }, transcripts: [channel] };
  // Each field in turn, each part of a list, and the document itself.
  const places = (node) =>
    node instanceof Object ? [[], ...Object.keys(node).flatMap((key) => places(node[key]).map((rest) => [key, ...rest]))] : [[]];
  const put = (node, [key, ...rest], value) => {
    if (key === undefined) return value;
    return Object.assign(Array.isArray(node) ? [...node] : { ...node }, { [key]: put(node[key], rest, value) });
  };
  for (const place of places(whole)) {
    for (const value of types) {
      const transcript = put(whole, place, value);
      for (const write of [txt, srt, vtt]) {
        const text = write(transcript);
        assert(!/undefined|null|object|function/.test(text), text);
      }
    }
  }
  assert.equal(txt(put(whole, ['transcripts', '0', 'sentences', '0', 'words', '0', 'punctuation'], 7)), 'Speaker 1: Yes\n');
  assert.equal(txt(put(whole, ['transcripts', '0', 'sentences', '0', 'words'], 7)), 'Speaker 1: Yes\n');
  assert.equal(txt(put(whole, ['transcripts', '0', 'sentences'], 7)), 'Yes.\n');
});

test('a voice is a number, whatever stands there', () => {
  for (const speaker of ['0', '1>\n\n00:00:00.000 --> 09:00:00.000\n', {}, [], true]) {
    const transcript = { transcripts: [{ sentences: [{ text: 'Yes', speaker_id: speaker, begin_time: 0, end_time: 900 }] }] };
    assert.match(vtt(transcript), /^WEBVTT\n\n00:00:00\.000 --> 00:00:00\.900\n(<v Speaker (\d|NaN)>)?Yes\n\n$/);
  }
});
