// What is submitted: every parameter of Fun-ASR (*Fun-ASR recording*).

import { ValetError } from './error.js';

/** The body of a submit, as JSON. The relay says what is wrong with its parameters; that costs nothing either. */
export function bodyOf({ urls, model = 'fun-asr', parameters, ...named }) {
  if (!urls?.length) throw wrong('urls', 'name at least one URL');
  const input = { file_urls: urls.map((url, place) => checked(`urls[${place}]`, url)) };
  try {
    return JSON.stringify({
      model,
      input,
      parameters: {
        vocabulary_id: named.vocabularyId,
        channel_id: named.channels,
        special_word_filter: named.wordFilter && JSON.stringify(named.wordFilter),
        diarization_enabled: named.diarization,
        speaker_count: named.speakerCount,
        language_hints: named.languageHints,
        speech_noise_threshold: named.speechNoiseThreshold,
        ...parameters,
      },
    });
  } catch {
    throw wrong('request', 'must be JSON');
  }
}

export const wrong = (field, problem) => new ValetError('InvalidRequest', `${field}: ${problem}`);

/** A URL that can be fetched, as the service wants it. */
export function checked(field, url) {
  const sent = encoded(url);
  if (!sent) throw wrong(field, 'must begin with http:// or https://');
  return sent;
}

/** A URL as the service wants it: what is not plain ASCII is percent-encoded; what is, is left as it was signed. */
export function encoded(text) {
  try {
    const { protocol, href } = new URL(text);
    return /^https?:$/.test(protocol) ? (/[^!-~]/.test(text) ? href : text) : undefined;
  } catch {
    return undefined;
  }
}

/** A name that no other submit has. */
export function newKey() {
  return crypto.getRandomValues(new Uint32Array(4)).join('-');
}
