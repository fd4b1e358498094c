// "Two files" of the section "Fork": whether two files of one chain, each verified by itself, can be of one history.

import { equal } from './bytes.mjs';
import { contradicting } from './bounds.mjs';
import { sameHeader } from './header.mjs';
import { highest } from './sight.mjs';

// Why no one history holds two headers.
export const TWO_AT_ONE = 'two headers at one height';
export const FALL = 'first numbers fall';
export const THIRD = 'a header right above another names a third';
export const GAP = 'a header right above another begins later than that ends';
export const WITHIN = 'another header within a bundle';
export const LEFT_OUT = 'a header that sets the key is not in the list of the other';

// The relations of two headers by themselves, the lower one first.
function apart(lower, higher) {
  if (lower.height === higher.height) return sameHeader(lower, higher) ? null : TWO_AT_ONE;
  if (higher.first < lower.next) return FALL;
  if (higher.height > lower.height + 1n) return null;
  if (!equal(higher.before, lower.hash)) return THIRD;
  return higher.first === lower.next ? null : GAP;
}

// a and b are what verifyProof or verifyBundle found. Returns null, or what is wrong in words.
export async function compareFiles(a, b) {
  const why = twoHistories(a, b);
  if (why !== null || !equal(a.chain, b.chain)) return why;
  const names = contradicting([...a.sight.receipts, ...b.sight.receipts]);
  return names.length > 0 ? `receipts of ${names.join(', ')} with falling times` : null;
}

// The same of what the chain's key signed alone.
export function twoHistories(a, b) {
  if (!equal(a.chain, b.chain)) return null;
  for (const one of a.sight.headers) {
    for (const other of b.sight.headers) {
      const why = apart(...(one.height <= other.height ? [one, other] : [other, one]));
      if (why !== null) return why;
    }
  }
  for (const [{ run }, { headers }] of [[a.sight, b.sight], [b.sight, a.sight]]) {
    for (const header of run === undefined ? [] : headers) {
      const at = header.height - run.first.height;
      const why = at < 0n ? apart(header, run.first) : at < BigInt(run.hashes.length) && !equal(run.hashes[Number(at)], header.hash) ? WITHIN : null;
      if (why !== null) return why;
    }
  }
  for (const [one, other] of [[a.sight, b.sight], [b.sight, a.sight]]) {
    const top = highest(other.headers).height;
    for (const header of one.headers) {
      if (header.key === undefined || header.height >= top) continue;
      if (!other.setters.some(s => sameHeader(s, header))) return LEFT_OUT;
    }
  }
  return null;
}
