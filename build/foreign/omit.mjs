// node omit.mjs VECTORSDIR: takes each check out in turn, and prints those that no vector notices.
//
// Only vectors whose first failed check is the one taken out can notice it.

import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { leftOut } from './checks.mjs';
import { disagreement, outcome } from './vectors.mjs';

const dir = process.argv[2];
const own = new URL('.', import.meta.url).pathname;
const checks = new Set(); // by their words
for (const file of await readdir(own)) {
  if (!file.endsWith('.mjs') || ['vectors.mjs', 'omit.mjs', 'checks.mjs', 'run.mjs', 'judge.mjs'].includes(file)) continue;
  const source = await readFile(join(own, file), 'utf8');
  for (const call of source.split(/\b(?:form|need|refuse|once|sound)\(/).slice(1)) {
    const words = call.slice(0, call.indexOf(';')).match(/(?:'([^']*)'|"([^"]*)")\)$/);
    if (words) checks.add(words[1] ?? words[2]);
  }
}

const firstFailures = new Map(); // words -> vectors
for (const file of (await readdir(dir)).filter(f => f.endsWith('.json') && !f.startsWith('run-')).sort()) {
  const vector = JSON.parse(await readFile(join(dir, file), 'utf8'));
  const { fail } = await outcome(vector);
  if (!fail) continue;
  if (!firstFailures.has(fail.why)) firstFailures.set(fail.why, []);
  firstFailures.get(fail.why).push(vector);
}

const unnoticed = [];
for (const words of checks) {
  let noticed = false;
  leftOut.add(words);
  for (const vector of firstFailures.get(words) ?? []) {
    try {
      noticed ||= await disagreement(vector) !== null;
    } catch {
      noticed = true; // it breaks
    }
  }
  leftOut.delete(words);
  if (!noticed) unnoticed.push(words);
}
console.log(JSON.stringify({ checks: checks.size, unnoticed }, null, 2));
