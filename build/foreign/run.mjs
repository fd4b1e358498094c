// node run.mjs VECTORSDIR: runs all vectors, prints each disagreement and a summary; exit 1 on any.

import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { disagreement } from './vectors.mjs';

const dir = process.argv[2];
if (dir === undefined) {
  console.error('usage: node run.mjs VECTORSDIR');
  process.exit(2);
}
const files = (await readdir(dir)).filter(f => f.endsWith('.json') && !f.startsWith('run-')).sort();
let wrong = 0;
for (const file of files) {
  const vector = JSON.parse(await readFile(join(dir, file), 'utf8'));
  let what;
  try {
    what = await disagreement(vector);
  } catch (e) {
    what = `the verifier broke: ${e.stack}`;
  }
  if (what === null) continue;
  wrong++;
  console.log(`${file}: ${what}`);
}
console.log(`${files.length - wrong} of ${files.length} vectors agree`);
process.exitCode = wrong > 0 || files.length === 0 ? 1 : 0;
