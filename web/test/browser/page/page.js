// A page as somebody might write it, on an origin that is not the broker's.

import { Client, srt } from './valet.js';

let client;

window.page = {
  signIn(broker, idToken) {
    client = new Client({ broker, token: () => idToken });
  },
  async transcribe(request, milliseconds) {
    const seen = [];
    const signal = milliseconds === undefined ? undefined : AbortSignal.timeout(milliseconds);
    let gaveUp;
    signal?.addEventListener('abort', () => (gaveUp = performance.now()));
    try {
      const { files } = await client.transcribe(request, { signal, onProgress: ({ status }) => seen.push(status) });
      return { seen, files: files.map((file) => ({ ...file, srt: file.transcript && srt(file.transcript) })) };
    } catch (error) {
      const { name, kind, code, status, requestId, retryAfter, message } = error;
      const late = performance.now() - gaveUp;
      return { seen, late, error: { name, kind, code, status, requestId, retryAfter, message } };
    }
  },
};
