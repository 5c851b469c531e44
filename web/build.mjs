// Makes the module that is shipped, dist/valet.js, of its sources: one file, minified. Prints its size. Puts the
// licences beside it, since a package has to hold its own.

import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

import { build } from 'esbuild';
import { minify } from 'terser';

const path = (name) => fileURLToPath(new URL(name, import.meta.url));

const { outputFiles } = await build({
  entryPoints: [path('src/index.js')],
  bundle: true,
  charset: 'utf8',
  format: 'esm',
  minifySyntax: true,
  target: 'es2022',
  write: false,
});
const { code } = await minify(outputFiles[0].text, { module: true, ecma: 2020, compress: { passes: 3 } });
mkdirSync(path('dist'), { recursive: true });
writeFileSync(path('dist/valet.js'), code);
for (const name of ['LICENSE-APACHE', 'LICENSE-MIT']) copyFileSync(path(`../${name}`), path(name));
console.log(`dist/valet.js: ${gzipSync(code, { level: 9 }).length} bytes, gzipped`);
