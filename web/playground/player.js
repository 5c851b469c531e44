// Plays a recording, sentence by sentence: from where it lies if this page may fetch it, else from the user's disk.

import { made } from './element.js';

/** A player, and what has it play a part of the recording. Times in milliseconds. */
export function playerOf(url, index) {
  const audio = made('audio', { controls: true, preload: 'none', src: url });
  const id = `recording-${index}`;
  const choose = made('div', { hidden: true });
  const file = made('input', { type: 'file', id, accept: 'audio/*,video/*' });
  const label = made('label', { htmlFor: id, textContent: 'To hear it, choose the recording from this device' });
  choose.append(label, file);
  let [current, until] = [undefined, Infinity];

  const mark = (button) => {
    current?.removeAttribute('aria-current');
    current = button;
    current?.setAttribute('aria-current', 'true');
  };
  audio.addEventListener('error', () => {
    choose.hidden = false;
    mark(undefined);
  });
  audio.addEventListener('timeupdate', () => {
    if (audio.currentTime < until) return;
    until = Infinity;
    audio.pause();
    mark(undefined);
  });
  file.addEventListener('change', () => {
    if (!file.files.length) return;
    if (audio.src.startsWith('blob:')) URL.revokeObjectURL(audio.src);
    audio.src = URL.createObjectURL(file.files[0]);
  });

  return {
    element: made('div', {}, audio, choose),
    plays(button, begin, end) {
      button.addEventListener('click', () => {
        mark(button);
        until = end / 1000;
        audio.currentTime = begin / 1000;
        // What keeps it from playing is told by its error.
        audio.play().catch(() => {});
      });
    },
  };
}
