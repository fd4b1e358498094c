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
// Four bytes as five letters of 85; see loader.js.
function written(bytes) {
  let text = '';
  for (let at = 0; at < bytes.length; at += 4) {
    const part = bytes.subarray(at, at + 4);
    let n = 0, letters = '';
    for (let i = 0; i < 4; i++) n = n * 256 + (part[i] ?? 0);
    for (let i = 0; i < 5; i++, n = Math.floor(n / 85)) letters = String.fromCharCode(n % 85 + 40) + letters;
    text += letters.slice(0, part.length + 1);
  }
  return text.replaceAll('<', '}');
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
