// "Proof" and "Checks of a proof".

import { compare, equal } from './bytes.mjs';
import { MAX_INT, decode, encode, isArray, isBytes, isMap } from './cbor.mjs';
import { form, need } from './checks.mjs';
import { bounds, clockOutside, contradicting, silences } from './bounds.mjs';
import { decodeEntry } from './entry.mjs';
import { decodeSigned } from './header.mjs';
import { decodePath, leads, leafHash, sha256 } from './merkle.mjs';
import { isNote, standingOf, told } from './note.mjs';
import { decodeOutside } from './outside.mjs';
import { decodePem, isText } from './pem.mjs';
import { trustedReceipts } from './receipt.mjs';
import { checkChain, checkKeys, checkLaterPaths, checkRelations, checkSignature } from './sight.mjs';

const MAX_SIZE = 32 * 2 ** 20;

export async function decodeProof(file) {
  const bytes = isText(file) ? decodePem(file) : file;
  form(bytes.length <= MAX_SIZE, 'a proof above 32 MiB');
  const map = decode(bytes);
  form(isMap(map), 'a proof is a map');
  for (const key of map.keys()) form(key >= 1n && key <= 8n, 'an unknown field of a proof');
  // A field that is missing is none of its kind.
  form(map.get(1n) === 1n, "a proof's version is 1");
  form(isBytes(map.get(2n)), 'an entry is in a byte string');

  const proof = {
    entryBytes: map.get(2n),
    entry: decodeEntry(map.get(2n)),
    path: decodePath(map.get(3n)),
    block: await decodeSigned(map.get(4n)),
    setters: await decodeSetters(map.get(5n)),
    later: map.has(6n) ? await decodeLater(map.get(6n), 1) : [],
    beacon: map.has(7n) ? await decodeBeacon(map.get(7n)) : [],
    outside: map.has(8n) ? decodeOutside(map.get(8n)) : [],
  };
  checkLater(proof.later);
  return proof;
}

// Field 5, and the start of a bundle.
export async function decodeSetters(list) {
  form(isArray(list, 1), 'headers that set the key are a list, not an empty one');
  form(list.length <= 1024, 'more than 1,024 headers that set the key');
  const setters = [];
  for (const bytes of list) setters.push(await decodeSigned(bytes));
  for (const s of setters) form(s.receipts.length === 0, 'a receipt on a header that sets the key');
  return setters;
}

// Field 6, and the later headers of a bundle's end.
export async function decodeLater(list, least) {
  form(isArray(list, least), 'later headers are a list, in a proof not an empty one');
  form(list.length <= 16, 'more than 16 later headers');
  const later = [];
  for (const pair of list) {
    form(isArray(pair, 2, 2), 'a later header and its path');
    later.push({ signed: await decodeSigned(pair[0]), path: decodePath(pair[1]) });
  }
  return later;
}

// What `decoding` checks of them beyond their encoding; of a bundle, in its second round.
export function checkLater(later) {
  later.forEach(({ signed }, i) => {
    form(signed.receipts.length > 0, 'a later header without a receipt');
    form(i === 0 || later[i - 1].signed.header.height < signed.header.height, 'heights of later headers do not ascend');
  });
}

async function decodeBeacon(list) {
  form(isArray(list, 1), 'field 7 is a list, not an empty one');
  form(list.length <= 8, 'more than 8 headers in field 7');
  const beacon = [];
  for (const bytes of list) beacon.push(await decodeSigned(bytes));
  beacon.forEach((signed, i) => {
    form(signed.receipts.length === 1, 'a header of field 7 with none or several receipts');
    form(i === 0 || compare(beacon[i - 1].receipts[0].bytes, signed.receipts[0].bytes) < 0,
      'receipts of field 7 not in ascending order');
  });
  return beacon;
}

// What a proof shows, or Failed with the first check that fails.
export async function verifyProof(file, trust) {
  const proof = await decodeProof(file);
  const { path, block, setters, later, beacon } = proof;
  const { header } = block;
  const signed = [block, ...later.map(l => l.signed), ...beacon];
  const others = signed.map(s => s.header);

  checkChain(setters, others, trust);
  await checkKeys(setters, others);
  for (const s of signed) await checkSignature(s, setters);

  need(path.size === header.count, 'entry', "the entry's path has the size of key 8");
  need(await leads(path, await leafHash(proof.entryBytes), header.root), 'entry', "the entry's path leads to key 6");
  need(header.next <= MAX_INT, 'entry', "the block's numbers exceed 2^63-1");

  await checkLaterPaths(later, header);
  const below = beacon.filter(s => s.header.height < header.height);
  await checkRelations([...setters, block, ...later.map(l => l.signed), ...below].map(s => s.header), later.map(l => l.path));

  const upper = [];
  for (const s of [block, ...later.map(l => l.signed)]) upper.push(...await trustedReceipts(s, trust));
  const lower = [];
  for (const s of beacon) lower.push(...await trustedReceipts(s, trust));
  const bracket = bounds(upper, lower, trust.quorum);

  if (beacon.length > 0) await checkBeacon(beacon, header);

  const receipts = [...upper, ...lower];
  const known = height => [...others, ...setters.map(s => s.header)].map(h => told(h, height)).find(t => t !== undefined);
  const note = isNote(proof.entry) ? await standingOf(proof.entry, header.chain, trust, header, known) : undefined;
  return {
    note, standing: note?.standing, signer: note?.signer, binding: note?.binding,
    entry: proof.entry, number: header.first + path.index, chain: header.chain, gateway: setters[0].header.name, height: header.height, ...bracket,
    contradicting: contradicting(receipts), silences: silences(others, receipts), outside: proof.outside.length,
    clockOutside: clockOutside(header.time, bracket), noQuorum: trust.quorum === 0n,
    entryBytes: proof.entryBytes, header, genesis: setters[0].header, upper, lower, evidence: proof.outside,
    sight: { headers: [...setters.map(s => s.header), ...others], setters: setters.map(s => s.header), receipts },
  };
}

async function checkBeacon(beacon, header) {
  for (const s of beacon) need(s.header.height < header.height, 'beacon', "a header of field 7 is not below the block");
  need(header.beacon !== undefined, 'beacon', "the block's header has a beacon");
  const hash = await sha256(encode(beacon.map(s => s.receipts[0].value)));
  need(equal(hash, header.beacon), 'beacon', 'the receipts of field 7 are those of the beacon');
}
