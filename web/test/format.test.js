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
