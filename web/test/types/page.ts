// A page, as far as the compiler sees it: what must be allowed, and what must not.

import { Client, ValetError, cues, json, srt, txt, vtt, type Task, type Transcript } from 'valet-web';

const client = new Client({ broker: 'https://valet.example.com', token: async () => 'id-token' });
new Client({ token: () => ({ access_token: 't', base_url: 'https://valet.example.com/api/v1', expires_in: 60 }) });
// @ts-expect-error: a token source is a function
new Client({ token: 'id-token' });

export async function run(urls: string[], signal: AbortSignal): Promise<string[]> {
  const onProgress = (task: Task) => console.log(task.status === 'RUNNING', task.isFinal);
  try {
    const { files } = await client.transcribe({ urls, languageHints: ['en'] }, { signal, onProgress, deadline: 1000 });
    // @ts-expect-error: there may be none
    files[0].transcript.file_url;
    return files.flatMap(({ transcript }) => (transcript ? written(transcript) : []));
  } catch (error) {
    if (error instanceof ValetError && error.kind === 'Ambiguous' && error.idempotencyKey) {
      await client.submit({ urls }, { idempotencyKey: error.idempotencyKey });
    }
    // @ts-expect-error: there is no such kind
    if (error instanceof ValetError) return error.kind === 'Nonsense' ? [] : [];
    throw error;
  }
}

function written(transcript: Transcript): string[] {
  const [first] = cues(transcript, { lineLength: 37 });
  return [first?.voice ?? '', txt(transcript, { speakers: false }), srt(transcript), vtt(transcript), json(transcript)];
}
