// The playground, as a person uses it: by keyboard, on a phone, in light and dark.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { artefacts, browse, handedOut, kept, open, start, textsOf, until } from './stage.js';

const PHONE = { viewport: { width: 320, height: 640 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };
const DESKTOP = { viewport: { width: 1280, height: 900 } };
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

let [stage, browser] = [];
before(async () => {
  [stage, browser] = await Promise.all([start(), browse()]);
});
after(async () => {
  await browser?.close();
  await stage?.stop();
});

const url = (name) => `${stage.files}/${name}`;
const statusIs = (page, pattern) =>
  page.waitForFunction((text) => new RegExp(text).test(document.getElementById('status').textContent), pattern.source);

/** Has a page note what its status says. What comes of it waits until something of each kind was said from then on, in this
 * order; for how long does not matter. */
async function listening(page) {
  await page.evaluate(() => {
    const status = document.getElementById('status');
    const said = (window.said = []);
    new MutationObserver(() => said.push(status.textContent)).observe(status, { childList: true });
  });
  const heard = (patterns) => {
    let place = -1;
    return patterns.every((text) => (place = window.said.findIndex((one, at) => at > place && new RegExp(text).test(one))) >= 0);
  };
  return (...patterns) => page.waitForFunction(heard, patterns.map(({ source }) => source));
}

/** The playground, signed in on this machine, with the transcripts of some recordings. */
async function transcribed(names, options = DESKTOP) {
  const opened = await open(browser, `${stage.broker}/playground/`, options);
  await opened.page.locator('#here').waitFor();
  await opened.page.locator('#urls').fill(names.map(url).join('\n'));
  await opened.page.getByRole('button', { name: 'Transcribe' }).click();
  await statusIs(opened.page, /^Done/);
  return opened;
}

test('by keyboard alone a recording is transcribed, read, heard and downloaded', async () => {
  const opened = await open(browser, `${stage.broker}/playground/`, DESKTOP);
  const { page, seen } = opened;
  await page.locator('#here').waitFor();
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.textContent);
  const tabTo = async (wanted) => {
    for (let press = 0; press < 40; press++) {
      await page.keyboard.press('Tab');
      if (wanted.test(await focused())) return;
    }
    assert.fail(`${wanted} cannot be reached`);
  };
  await tabTo(/^app$/);
  await tabTo(/^urls$/);
  await page.keyboard.type(url('train.mp3'));
  await tabTo(/^start$/);
  await stage.slowly(async () => {
    const heard = await listening(page);
    await page.keyboard.press('Enter');
    await heard(/waiting for its turn/, /being transcribed/, /^Done in \d+ s: 1 of 1 recording transcribed/);
  });

  // Read: sentences with their times.
  const sentences = await page.locator('.sentences button').allTextContents();
  const expected = readFileSync(fileURLToPath(new URL('../../../recordings/train.srt', import.meta.url)), 'utf8');
  for (const sentence of sentences) {
    const [, time, text] = /^(\d\d:\d\d)(.*)$/.exec(sentence);
    assert(expected.includes(`00:${time},`) || time === '00:00', sentence);
    assert(expected.replace(/\s+/g, ' ').includes(text.trim()), sentence);
  }

  // Heard: from where the last sentence begins to where it ends.
  const last = page.locator('.sentences button').last();
  const begin = Number(/^PT([\d.]+)S$/.exec(await last.locator('time').getAttribute('datetime'))[1]);
  await tabTo(new RegExp(sentences.at(-1).slice(0, 20).replace(/[.?]/g, '\\$&')));
  // It does not last long: looked for from before it begins.
  const isHeard = page.waitForFunction((begin) => {
    const [audio, current] = [document.querySelector('audio'), document.querySelector('.sentences [aria-current=true]')];
    const last = [...document.querySelectorAll('.sentences button')].at(-1);
    return !audio.paused && audio.currentTime > begin && current === last;
  }, begin);
  await Promise.all([isHeard, page.keyboard.press('Enter')]);
  await page.waitForFunction(() => document.querySelector('audio').paused);
  assert.equal(await last.getAttribute('aria-current'), null);

  // Downloaded.
  for (const [format, begins] of Object.entries({ txt: /^[A-Z]/, srt: /^1\n00:/, vtt: /^WEBVTT\n/, json: /^\{/ })) {
    await tabTo(new RegExp(`^${format}$`));
    const [download] = await Promise.all([page.waitForEvent('download'), page.keyboard.press('Enter')]);
    assert.equal(download.suggestedFilename(), `train.${format}`);
    assert.match(readFileSync(await download.path(), 'utf8'), begins);
  }

  // Nothing went elsewhere, nothing was kept, and nothing was amiss.
  const hosts = new Set(seen.requests.map((request) => request.url()).filter((url) => !url.startsWith('blob:')).map((url) => new URL(url).origin));
  assert.deepEqual([...hosts].sort(), [stage.broker, stage.files].sort());
  const tokens = await handedOut(seen);
  assert(tokens.length > 0);
  const places = [await kept(opened), seen.said.join('\n'), seen.requests.map((request) => request.url()).join('\n'), stage.read('log')];
  for (const token of tokens) assert(!places.some((text) => text.includes(token.split('.')[2])));
  assert.equal(seen.said.join('\n'), '');
  await opened.context.close();
});

test('an ID token that is pasted is enough', async () => {
  const { page, context } = await open(browser, `${stage.broker}/playground/`, DESKTOP);
  await page.locator('#here').waitFor();
  await page.getByLabel('Sign in on this machine as').selectOption('');
  await page.getByRole('button', { name: 'Transcribe' }).isEnabled();
  await page.getByLabel('ID token of your user').fill(stage.issuer.idToken('demo'));
  await page.getByLabel('URLs of recordings').fill(url('call.flac'));
  await page.getByLabel('Channels').selectOption('0,1');
  await page.getByRole('button', { name: 'Transcribe' }).click();
  await statusIs(page, /^Done/);
  const voices = new Set(await page.locator('.voice').allTextContents());
  assert.deepEqual([...voices].sort(), ['Channel 1', 'Channel 2']);
  const text = await page.locator('.sentences').textContent();
  for (const sentence of textsOf('call.flac').flatMap((said) => said.split(/(?<=[.?!])\s+/))) {
    assert(text.includes(sentence), sentence);
  }
  await until(() => /"door":"v1".*"app":"demo","subject":"alice"/.test(stage.read('audit')), 'it is recorded');
  await context.close();
});

test('refusals and files that fail are told, and heard by a screen reader', async () => {
  const { page, context } = await open(browser, `${stage.broker}/playground/`, DESKTOP);
  await page.locator('#here').waitFor();
  await page.getByLabel('Sign in on this machine as').selectOption('');
  await page.getByLabel('ID token of your user').fill('nobody');
  await page.getByLabel('URLs of recordings').fill(url('broken.mp3'));
  await page.getByRole('button', { name: 'Transcribe' }).click();
  const problem = page.getByRole('alert');
  await problem.waitFor();
  assert.match(await problem.textContent(), /secret is wrong.*\(Credentials, invalid_credential, request [0-9a-f-]+\)/);
  await page.getByLabel('Sign in on this machine as').selectOption('demo');
  await page.getByLabel('Recordings', { exact: false }).first().waitFor();
  await page.getByRole('button', { name: 'Transcribe' }).click();
  await statusIs(page, /^(Done|Failed)/);
  const told = await page.locator('.problem:visible').allTextContents();
  assert.equal(told.length, 1, told.join());
  assert.match(told[0], /\([\w.]+\)/);
  await context.close();
});

test('a recording that the page may not fetch is heard from the disk', async () => {
  const opened = await open(browser, `${stage.broker}/playground/`, DESKTOP);
  const { page, context } = opened;
  await page.route(`${stage.files}/**`, (route) => route.abort());
  await page.locator('#here').waitFor();
  await page.getByLabel('URLs of recordings').fill(url('market.wav'));
  await page.getByRole('button', { name: 'Transcribe' }).click();
  await statusIs(page, /^Done/);
  await page.locator('.sentences button').first().click();
  const choose = page.getByLabel('choose the recording from this device');
  await choose.waitFor();
  await choose.setInputFiles(fileURLToPath(new URL('../../../recordings/market.wav', import.meta.url)));
  await page.locator('.sentences button').first().click();
  await page.waitForFunction(() => document.querySelector('audio').currentTime > 0);
  assert.match(await page.evaluate(() => document.querySelector('audio').src), /^blob:/);
  await context.close();
});

test('a submit whose answer is lost is sent again by the same key, and happens once', async () => {
  const { page, context } = await open(browser, `${stage.broker}/playground/`, DESKTOP);
  await page.locator('#here').waitFor();
  const before = await stage.submits();
  let isLost = true;
  await page.route('**/transcription', async (route) => {
    if (!isLost) return route.continue();
    isLost = false;
    await route.fetch();
    return route.abort();
  });
  await page.getByLabel('URLs of recordings').fill(url('market.wav'));
  await page.getByRole('button', { name: 'Transcribe' }).click();
  await page.getByRole('alert').waitFor();
  assert.match(await page.getByRole('alert').textContent(), /may have been submitted.*Ambiguous/);
  assert.equal(await stage.submits(), before + 1);
  await page.getByRole('button', { name: 'Transcribe' }).click();
  await statusIs(page, /^Done/);
  assert.equal(await stage.submits(), before + 1, 'it is the same task');
  // Where the broker itself does not know, the same key leads nowhere.
  await page.route('**/transcription', (route) => route.fulfill({ status: 409, json: { code: 'SubmitOutcomeUnknown', message: 'Who knows?' } }));
  await page.getByRole('button', { name: 'Transcribe' }).click();
  await page.getByRole('alert').waitFor();
  assert.match(await page.getByRole('alert').textContent(), /may have been submitted.*Reload.*Ambiguous, SubmitOutcomeUnknown/);
  await context.close();
});

test('what was cancelled while it was being submitted, is submitted once; what was answered, anew', async () => {
  const { page, context } = await open(browser, `${stage.broker}/playground/`, DESKTOP);
  await page.locator('#here').waitFor();
  const before = await stage.submits();
  const start = page.getByRole('button', { name: 'Transcribe' });
  let [keys, isHeld] = [[], true];
  await page.route('**/transcription', async (route) => {
    keys.push(route.request().headers()['idempotency-key']);
    if (!isHeld) return route.continue();
    isHeld = false;
    // It arrives, and its answer never does.
    await route.fetch();
  });
  await page.getByLabel('URLs of recordings').fill(url('market.wav'));
  await start.click();
  await until(async () => (await stage.submits()) === before + 1, 'it arrives');
  await page.getByRole('button', { name: 'Cancel' }).click();
  await statusIs(page, /^Cancelled\. What was being submitted may go on/);
  await start.click();
  await statusIs(page, /^Done/);
  assert.equal(await stage.submits(), before + 1, 'it is the same task');
  const heard = await listening(page);
  await start.click();
  await heard(/^Submitting|^The task/, /^Done/);
  assert.equal(await stage.submits(), before + 2, 'another task');
  assert.deepEqual(keys.map((key) => keys.indexOf(key)), [0, 0, 2]);
  await context.close();
});

test('nobody becomes somebody else while a task is waited for, and the keyboard loses no place', async () => {
  const { page, context } = await open(browser, `${stage.broker}/playground/`, DESKTOP);
  await page.locator('#here').waitFor();
  const [app, token] = [page.getByLabel('Sign in on this machine as'), page.getByLabel('ID token of your user')];
  const focused = () => page.evaluate(() => document.activeElement.id);
  // As long as nothing is known of the task, it is waited for.
  await page.route('**/tasks/*', () => {});
  await page.getByLabel('URLs of recordings').fill(url('market.wav'));
  await app.selectOption('');
  await token.fill(stage.issuer.idToken('demo'));
  await token.press('Enter');
  await statusIs(page, /^The task/);
  assert.deepEqual([await app.isDisabled(), await token.isDisabled(), await focused()], [true, true, 'start']);
  await page.keyboard.press('Enter');
  await page.keyboard.press('Tab');
  assert.equal(await focused(), 'stop');
  await page.keyboard.press('Enter');
  await statusIs(page, /^(Cancelled|No longer waited for)/);
  assert.deepEqual([await app.isDisabled(), await token.isDisabled(), await focused()], [false, false, 'start']);
  assert.equal(await page.getByRole('alert').filter({ visible: true }).count(), 0);
  await context.close();
});

test('a sign-in that fails for a while is tried again', async () => {
  const { page, context } = await open(browser, `${stage.broker}/playground/`, DESKTOP);
  await page.locator('#here').waitFor();
  const answers = [(route) => route.abort(), (route) => route.fulfill({ status: 502, body: 'Bad Gateway' })];
  await page.route('**/sign-in', (route) => (answers.shift() ?? ((route) => route.continue()))(route));
  await page.getByLabel('URLs of recordings').fill(url('market.wav'));
  await page.getByRole('button', { name: 'Transcribe' }).click();
  await statusIs(page, /^Done/);
  assert.equal(answers.length, 0);
  await context.close();
});

test('an ID token that ends while a task is waited for costs no second task', async () => {
  const { page, context } = await open(browser, `${stage.broker}/playground/`, DESKTOP);
  await page.locator('#here').waitFor();
  const before = await stage.submits();
  await page.getByLabel('Sign in on this machine as').selectOption('');
  const token = page.getByLabel('ID token of your user');
  await token.fill(stage.issuer.idToken('demo'));
  await page.getByLabel('URLs of recordings').fill(url('market.wav'));
  const refused = (route) => route.fulfill({ status: 401, json: { code: 'InvalidApiKey', message: 'It has ended.' } });
  await page.route('**/tasks/*', refused);
  await page.getByRole('button', { name: 'Transcribe' }).click();
  await page.getByRole('alert').waitFor();
  assert.match(await page.getByRole('alert').textContent(), /The task goes on; press Transcribe again.*It has ended\. \(Credentials/);
  await page.unroute('**/tasks/*', refused);
  await token.fill(stage.issuer.idToken('demo'));
  await page.getByRole('button', { name: 'Transcribe' }).click();
  await statusIs(page, /^Done/);
  assert.equal(await stage.submits(), before + 1, 'it is the same task');
  // Once it is read, another one is made.
  const heard = await listening(page);
  await page.getByRole('button', { name: 'Transcribe' }).click();
  await heard(/^The task/, /^Done/);
  assert.equal(await stage.submits(), before + 2);
  await context.close();
});

test('a sign-in that is never answered is given up, and tried again', async () => {
  const { page, context } = await open(browser, 'about:blank', DESKTOP);
  await page.addInitScript(() => {
    const { timeout } = AbortSignal;
    // The first one alone is given up so soon: those that are answered may take their time.
    AbortSignal.timeout = (time) => {
      AbortSignal.timeout = timeout;
      return timeout.call(AbortSignal, time / 50);
    };
  });
  await page.goto(`${stage.broker}/playground/`);
  await page.locator('#here').waitFor();
  let asked = 0;
  await page.route('**/sign-in', (route) => (asked++ ? route.continue() : undefined));
  await page.getByLabel('URLs of recordings').fill(url('market.wav'));
  await page.getByRole('button', { name: 'Transcribe' }).click();
  await statusIs(page, /^Done/);
  assert.equal(asked, 2);
  await context.close();
});

test('settings that come late change nobody who has begun', async () => {
  const { page, context, seen } = await open(browser, 'about:blank', DESKTOP);
  let send;
  const late = new Promise((resolve) => (send = resolve));
  await page.route('**/settings.json', async (route) => {
    await late;
    return route.continue();
  });
  // While it waits for its task they come, and then its next call needs another token.
  let refuse;
  const refused = new Promise((resolve) => (refuse = resolve));
  await page.route('**/tasks/*', async (route) => {
    await refused;
    return route.fulfill({ status: 401, json: {} });
  }, { times: 1 });
  await page.goto(`${stage.broker}/playground/`);
  await page.getByLabel('ID token of your user').fill(stage.issuer.idToken('demo'));
  await page.getByLabel('URLs of recordings').fill(url('market.wav'));
  await page.getByRole('button', { name: 'Transcribe' }).click();
  await statusIs(page, /^The task/);
  send();
  await page.locator('#here').waitFor();
  refuse();
  await statusIs(page, /^Done/);
  assert(!seen.requests.some((request) => request.url().endsWith('/sign-in')));
  await context.close();
});

test('below a path the ID token goes to the broker and nowhere else', async () => {
  const deep = await start({ path: '/speech/valet' });
  try {
    // A proxy may lead from the folder's name to the folder.
    const { page, context, seen } = await open(browser, `${deep.broker}/playground`, DESKTOP);
    assert.equal(page.url(), `${deep.broker}/playground/`);
    const idToken = deep.issuer.idToken('demo');
    await page.getByLabel('URLs of recordings').fill(`${deep.files}/market.wav`);
    if (await page.locator('#here').isVisible()) await page.getByLabel('Sign in on this machine as').selectOption('');
    await page.getByLabel('ID token of your user').fill(idToken);
    await page.getByRole('button', { name: 'Transcribe' }).click();
    await statusIs(page, /^Done/);
    assert.equal(await page.locator('#elsewhere').isVisible(), false);
    const shown = await Promise.all(seen.requests.map(async (request) => [request.url(), (await request.allHeaders()).authorization]));
    const places = shown.filter(([, bearer]) => bearer === `Bearer ${idToken}`).map(([url]) => url);
    assert.deepEqual([...new Set(places)], [`${deep.broker}/v1/tokens`]);
    for (const [url] of shown) assert(url.startsWith(`${deep.broker}/`), url);
    assert.equal(seen.said.join('\n'), '');
    await context.close();
  } finally {
    await deep.stop();
  }
});

test('whatever a transcript, a name or a refusal holds is text', async () => {
  const { page, context, seen } = await open(browser, `${stage.broker}/playground/`, DESKTOP);
  await page.locator('#here').waitFor();
  const evil = '<img src=x onerror="document.title=1"><script>document.title=2</script>"\'>{{7*7}}\u202e';
  const said = (text, more) => ({ begin_time: 0, end_time: 900, text, words: [], ...more });
  const transcript = {
    file_url: evil,
    properties: null,
    transcripts: [
      { text: evil, sentences: [said(evil, { speaker_id: null }), said('Yes.', { speaker_id: 1 }), null, said(null)] },
      { channel_id: 1, text: 'No sentences.', sentences: null },
    ],
  };
  await page.route('**/results/*', (route) => route.fulfill({ json: transcript }));
  const name = encodeURIComponent(`${evil}.wav`);
  await page.getByLabel('URLs of recordings').fill(`${stage.files}/market.wav?${name}\n${stage.files}/${name}`);
  // The second of them is not there.
  await page.getByRole('button', { name: 'Transcribe' }).click();
  await statusIs(page, /^Done/);
  const sentences = page.locator('.sentences').first().getByRole('button');
  const texts = await sentences.allTextContents();
  assert.deepEqual(texts, [`00:00 Channel 1 ${evil}`, '00:00 Channel 1, speaker 2 Yes.', '00:00 Channel 2 No sentences.']);
  await page.getByRole('button', { name: '00:00 Channel 1, speaker 2 Yes.', exact: true }).click();
  assert.equal(await page.getByRole('heading', { level: 3 }).last().textContent(), `${evil}.wav`);
  for (const format of ['txt', 'srt', 'vtt', 'json']) {
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: `Download ${format} of market.wav` }).click()]);
    const text = readFileSync(await download.path(), 'utf8');
    if (format !== 'json') assert(!/null|undefined|NaN/.test(text), text);
  }
  // A refusal of the relay's.
  await page.route('**/transcription', (route) => route.fulfill({ status: 400, json: { code: evil, message: evil, request_id: evil } }));
  await page.getByRole('button', { name: 'Transcribe' }).click();
  await statusIs(page, /^Failed/);
  assert((await page.locator('#problem').textContent()).includes(evil));
  assert.equal(await page.title(), 'Valet playground');
  assert.equal(await page.locator('img, script:not([src])').count(), 0);
  assert(!seen.said.some((text) => /Trusted|Security Policy|TypeError/.test(text)), seen.said.join('\n'));
  await context.close();
});

test('a task that has not begun is cancelled', async () => {
  const slow = await start({ pending: 60 });
  try {
    const { page, context } = await open(browser, `${slow.broker}/playground/`, DESKTOP);
    await page.locator('#here').waitFor();
    await page.getByLabel('URLs of recordings').fill(`${slow.files}/market.wav`);
    await page.getByRole('button', { name: 'Transcribe' }).click();
    await statusIs(page, /waiting for its turn/);
    await page.getByRole('button', { name: 'Cancel' }).click();
    await statusIs(page, /^Cancelled\.$/);
    assert(await page.getByRole('button', { name: 'Transcribe' }).isEnabled());
    await until(() => /"door":"cancel".*"outcome":"done"/.test(slow.read('audit')), 'it is recorded');
    await context.close();
  } finally {
    await slow.stop();
  }
});

for (const [name, device] of Object.entries({ phone: PHONE, desktop: DESKTOP })) {
  for (const colorScheme of ['light', 'dark']) {
    test(`on a ${name} in ${colorScheme} it is fit to be used by anyone`, async () => {
      const { page, context } = await transcribed(['call.flac', 'weather.flac', 'broken.mp3'], { ...device, colorScheme });
      const picture = join(artefacts, `playground-${name}-${colorScheme}.png`);
      await page.screenshot({ path: picture, fullPage: true });
      const { wide, small } = await page.evaluate(() => ({
        wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        small: [...document.querySelectorAll('button, select, textarea, input:not([type=checkbox])')]
          .filter((element) => element.offsetParent && element.offsetHeight < 44)
          .map((element) => element.outerHTML),
      }));
      assert.deepEqual([wide, small], [0, []]);
      // Names, roles, contrast, headings, live regions: what axe can tell.
      const found = await page.evaluate(`${axe}; axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })`);
      assert.deepEqual(found.violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]), []);
      await context.close();
    });
  }
}

test('the browser holds it to its own files: no script from elsewhere, none inline, no markup', async () => {
  const { page, context } = await open(browser, `${stage.broker}/playground/`, DESKTOP);
  const outcomes = await page.evaluate(async (foreign) => {
    const violations = [];
    document.addEventListener('securitypolicyviolation', ({ effectiveDirective }) => violations.push(effectiveDirective));
    const attempt = (act) => {
      try {
        act();
        return 'done';
      } catch (error) {
        return error.name;
      }
    };
    const markup = attempt(() => (document.body.innerHTML = '<img src=x onerror=alert(1)>'));
    const script = attempt(() => (document.createElement('script').src = `${foreign}/page.js`));
    const style = document.createElement('style');
    style.textContent = 'body { color: red }';
    document.head.append(style);
    const reached = await fetch(`${foreign}/page.js`).then(() => 'reached', () => 'blocked');
    // They are told of late.
    for (let look = 0; look < 300 && new Set(violations).size < 3; look++) await new Promise((resolve) => setTimeout(resolve, 100));
    return { markup, script, reached, violations };
  }, stage.foreign);
  assert.deepEqual([outcomes.markup, outcomes.script, outcomes.reached], ['TypeError', 'TypeError', 'blocked']);
  for (const directive of ['style-src-elem', 'connect-src', 'require-trusted-types-for']) {
    assert(outcomes.violations.includes(directive), outcomes.violations.join());
  }
  await context.close();
});

test('by another name of this machine it says where it should be opened', async () => {
  const { page, context } = await open(browser, `${stage.broker.replace('127.0.0.1', 'localhost')}/playground/`, DESKTOP);
  const notice = page.getByRole('alert').first();
  await notice.waitFor();
  assert(await notice.textContent().then((text) => text.includes(`${stage.broker}/playground/`)));
  assert.equal(await page.locator('#here').isVisible(), false, 'nobody is signed in here');
  await context.close();
});

test('a page of elsewhere cannot have itself signed in', async () => {
  const { page, context, seen } = await open(browser, `${stage.foreign}/index.html`, DESKTOP);
  const outcome = await page.evaluate(async (broker) => {
    const attempt = (init) =>
      fetch(`${broker}/playground/sign-in`, { method: 'POST', body: '{"app":"demo"}', ...init }).then(({ type }) => type, ({ name }) => name);
    const headers = { 'Content-Type': 'application/json' };
    return [await attempt({ headers }), await attempt({ mode: 'no-cors' }), await attempt({})];
  }, stage.broker);
  assert.deepEqual(outcome, ['TypeError', 'opaque', 'TypeError']);
  assert.deepEqual(await handedOut(seen), []);
  const refused = /"door":"playground"[^\n]*"status":403,"outcome":"denied"/;
  await until(() => refused.test(stage.read('audit')), 'the refusal is recorded');
  await context.close();
});
