// What a proof and a bundle have in common: the checks "chain", "keys" and "signature" ("Checks of a proof"), the key in
// force ("Proof"), and the relations of "Headers in sight".
//
// "setters" are the headers of field 5, or of a bundle's start.

import { equal } from './bytes.mjs';
import { MAX_INT } from './cbor.mjs';
import { need } from './checks.mjs';
import { hasEmptyRoot, hasKid, hasSignature, sameHeader } from './header.mjs';
import { Shown, leads } from './merkle.mjs';

export const highest = headers => headers.reduce((a, b) => (b.height > a.height ? b : a));

// Check "chain". `others` are headers; a genesis counts by its own hash.
export function checkChain(setters, others, trust) {
  const first = setters[0].header;
  need(first.genesis, 'chain', 'the first header that sets the key is a genesis');
  need(trust.chains.some(c => equal(c, first.chain)), 'chain', 'the chain is trusted');
  for (const header of [...setters.map(s => s.header), ...others]) {
    need(equal(header.chain, first.chain), 'chain', 'a header of another chain');
  }
}

// Key 12 of the highest header of the setters below a height; at height 0 genesis's own.
export function keyInForce(setters, height) {
  let key = setters[0].header.key;
  for (const { header } of setters) if (header.height < height) key = header.key;
  return key;
}

// Check "keys". `others` are the headers in sight that are no setters.
export async function checkKeys(setters, others) {
  const top = highest(others).height;
  let before = null;
  const named = [];
  for (const signed of setters) {
    const { header } = signed;
    need(header.key !== undefined, 'keys', 'a header without key 12 among those that set the key');
    need(before === null || header.height > before.height, 'keys', 'heights of those that set the key do not ascend');
    need(header.height < top, 'keys', 'a header that sets the key is not below the highest');
    need(!named.some(n => equal(n.key, header.key)), 'keys', 'a header sets a key that one before it set');
    named.push(header);
    const key = before === null ? header.key : before.key;
    need(await hasKid(signed, key), 'keys', 'a header that sets the key names another key than the one in force');
    need(await hasSignature(signed, key), 'keys', 'the signature of a header that sets the key');
    before = header;
  }
  for (const header of others) {
    if (header.key === undefined) continue;
    if (header.height < top) {
      need(setters.some(s => sameHeader(s.header, header)), 'keys', 'a header in sight sets a key, and is not listed');
    }
    need(!named.some(n => n.height < header.height && equal(n.key, header.key)), 'keys',
      'a header in sight sets a key that one below it set');
  }
}

// Check "signature", of one header.
export async function checkSignature(signed, setters) {
  const key = keyInForce(setters, signed.header.height);
  need(await hasKid(signed, key), 'signature', 'a header names another key than the one in force');
  need(await hasSignature(signed, key), 'signature', 'the signature of a header');
}

// Check "block", first half: later headers, each with the path of a header in its own history.
export async function checkLaterPaths(later, header) {
  for (const { signed, path } of later) {
    need(path.size === signed.header.height, 'block', "a later path's size is its header's height");
    need(path.index === header.height, 'block', "a later path's index is the block's height");
    need(await leads(path, header.hash, signed.header.history), 'block', "a later path leads to key 5");
  }
}

// Check "block", second half: every relation between the headers in sight. `paths` are those of field 6, `edge` the subtrees of
// a bundle's edge, as [first, count, hash].
export async function checkRelations(headers, paths, edge = []) {
  const sorted = [...headers].sort((a, b) => (a.height < b.height ? -1 : a.height > b.height ? 1 : 0));
  let before = null;
  for (const header of sorted) {
    if (before !== null && header.height === before.height) {
      need(sameHeader(header, before), 'block', 'two headers at one height');
      continue;
    }
    need(header.next <= MAX_INT, 'block', 'numbers in sight above 2^63-1');
    need(header.count > 0n || hasEmptyRoot(header), 'block', 'a header of no entries with another root than empty');
    if (before !== null) {
      need(header.first >= before.next, 'block', 'first numbers fall');
      if (header.height === before.height + 1n) { // that it names the other is a part of the tree, below
        need(header.first === before.next, 'block', 'a header right above another begins where that ends');
      }
    }
    before = header;
  }
  const shown = new Shown();
  const fits = () => need(!shown.torn, 'block', 'what is shown of the headers is of one tree');
  for (const [first, count, hash] of edge) shown.add(first, count, hash);
  for (const path of paths) shown.path(path);
  for (const header of sorted) {
    shown.add(header.height, 1n, header.hash);
    if (header.height === 0n) continue;
    shown.add(header.height - 1n, 1n, header.before);
    shown.add(0n, header.height, header.history);
  }
  fits();
  await shown.check();
  fits();
}
