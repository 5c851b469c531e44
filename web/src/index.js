// What the module exports: the client, its error, and transcripts as files.

export { Client } from './client.js';
export { ValetError } from './error.js';
export { cues, json, srt, txt, vtt } from './format/index.js';
