// node build.mjs FILE: builds the page, with esbuild in NODE_PATH. What comes out is one file that needs nothing else.

import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import chinese from './chinese.mjs';
import english from './english.mjs';

const folder = import.meta.dirname ?? new URL('.', import.meta.url).pathname;
const esbuild = createRequire(join(process.env.NODE_PATH ?? folder, 'x'))('esbuild');
const source = name => readFile(join(folder, name), 'utf8');

const minified = async (name, loader) => (await esbuild.transform(await source(name), { minify: true, loader, target: 'es2022', charset: 'utf8' })).code.trim();
const style = await minified('page.css', 'css');

// One script of modules, the style within it; `process` and node:crypto are Node's, and there is none.
const { outputFiles: [bundle] } = await esbuild.build({
  entryPoints: [join(folder, 'page.mjs')], bundle: true, minify: true, write: false, format: 'esm', target: 'es2022', charset: 'utf8',
  legalComments: 'none', define: { 'globalThis.process': 'undefined' }, external: ['node:crypto'],
  plugins: [{ name: 'style', setup: b => b.onLoad({ filter: /\.css$/ }, async () => ({ contents: style, loader: 'text' })) }],
});
// 13 bits as two letters of 91; see loader.js. What is left over and has no more than 6 bits is one letter.
function written(bytes) {
  let text = '', held = 0, bits = 0;
  const letter = n => String.fromCharCode(n + 35);
  const pair = n => letter(Math.floor(n / 91)) + letter(n % 91);
  for (const byte of bytes) {
    held = held << 8 | byte;
    bits += 8;
    if (bits < 13) continue;
    bits -= 13;
    text += pair(held >> bits);
    held &= (1 << bits) - 1;
  }
  if (bits > 6) text += pair(held << 13 - bits);
  else if (bits > 0) text += letter(held << 6 - bits);
  return text.replaceAll('<', '~');
}

const program = bundle.text.trim(), loader = await minified('loader.js', 'js');
const hash = text => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
const parts = {
  policy: `default-src 'none'; script-src ${hash(loader)} ${hash(program)}; style-src ${hash(style)}; base-uri 'none'; form-action 'none'`,
  loader, noScript: english.noScript, noScriptChinese: chinese.noScript,
  program: written(gzipSync(program, { level: 9, memLevel: 6 })),
};
const page = (await source('page.html')).replace(/\{\{(\w+)\}\}/g, (_, name) => parts[name]);
if (process.argv[2] === undefined) throw new Error('node build.mjs FILE');
await writeFile(process.argv[2], page);
console.log(`${process.argv[2]}: ${Buffer.byteLength(page)} bytes, the program ${program.length} before it is packed`);
