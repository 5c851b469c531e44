// What is shipped: one small module, its types, and nothing else. Needs what `npm ci` installs.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const root = new URL('..', import.meta.url);
const cwd = fileURLToPath(root);
const run = (command, ...words) => execFileSync(command, words, { cwd, encoding: 'utf8' });
const read = (name) => readFileSync(new URL(name, root), 'utf8');

test('the module is one file without imports, under 8 kB minified and gzipped', () => {
  run('npm', 'run', '--silent', 'build');
  const code = read('dist/valet.js');
  const size = gzipSync(code, { level: 9 }).length;
  assert(size < 8000, `${size} bytes`);
  assert(!/\bimport\b|\brequire\b|\beval\b/.test(code));
  assert.equal(JSON.parse(read('package.json')).dependencies, undefined);
});

test('what is shipped does what its sources do', async () => {
  run('npm', 'run', '--silent', 'build');
  const [shipped, sources] = await Promise.all([import('../dist/valet.js'), import('../src/index.js')]);
  assert.deepEqual(Object.keys(shipped).sort(), Object.keys(sources).sort());
  const samples = JSON.parse(read('test/transcripts.json'));
  for (const { transcript, srt } of samples) assert.equal(shipped.srt(transcript), srt);
});

test('the package holds the module, its types, its page and its licences, and nothing else', () => {
  run('npm', 'run', '--silent', 'build');
  const [{ files }] = JSON.parse(run('npm', 'pack', '--dry-run', '--json', '--ignore-scripts'));
  const paths = files.map(({ path }) => path).sort();
  const licences = ['LICENSE-APACHE', 'LICENSE-MIT'];
  assert.deepEqual(paths, [...licences, 'README.md', 'dist/valet.js', 'package.json', 'valet.d.ts']);
  for (const name of licences) assert.equal(read(name), read(`../${name}`));
  // What its page points to is elsewhere on the web, or in the package.
  for (const [, link] of read('README.md').matchAll(/\]\(([^)]*)\)/g)) assert(/^https:/.test(link) || paths.includes(link), link);
});

test('the types fit what a page would write, and name every export', async () => {
  run('node_modules/.bin/tsc', '--project', 'test/types');
  const declared = read('valet.d.ts').matchAll(/^export (?:class|function) (\w+)/gm);
  const exported = Object.keys(await import('../src/index.js'));
  assert.deepEqual([...declared].map(([, name]) => name).sort(), exported.sort());
});
