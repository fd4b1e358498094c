// "Block and header": a header, and a signed header.

import { compare, equal, toBase32, utf8 } from './bytes.mjs';
import { decode, encode, hasKeys, isArray, isBytes, isHash, isInt, isMap, isText, isUint } from './cbor.mjs';
import { form } from './checks.mjs';
import { idOf, isCanonical, isSmall, verify } from './ed25519.mjs';
import { leafHash, sha256 } from './merkle.mjs';
import { decodeReceipt } from './receipt.mjs';

const MEDIA_TYPE = 'application/vnd.edgechain.header+cbor';
const EMPTY = await sha256();
const LAST_KNOWN = 16n;

const KEYS = {
  genesis: { must: [1n, 3n, 5n, 6n, 7n, 8n, 9n, 10n, 12n, 14n], may: [13n, 15n, 16n] },
  other: { must: [1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n, 9n, 10n], may: [11n, 12n, 16n] },
};

export async function decodeHeader(bytes) {
  form(bytes.length <= 2048, 'a header above 2,048 bytes');
  const map = decode(bytes);
  form(isMap(map), 'a header is a map');
  const genesis = !map.has(2n);
  checkKeys(map, genesis ? KEYS.genesis : KEYS.other);

  form(map.get(1n) === 1n, "a header's version is 1");
  form(genesis || isHash(map.get(2n)), 'key 2 is a hash');
  form(isUint(map.get(3n)), 'key 3 is a uint');
  form(genesis || map.get(3n) > 0n, 'height 0 is for genesis alone');
  form(genesis || isHash(map.get(4n)), 'key 4 is a hash');
  form(isHash(map.get(5n)), 'key 5 is a hash');
  form(isHash(map.get(6n)), 'key 6 is a hash');
  form(isUint(map.get(7n)), 'key 7 is a uint');
  form(isUint(map.get(8n)), 'key 8 is a uint');
  form(isInt(map.get(9n)), 'key 9 is an int');
  checkClock(map.get(10n));
  form(!map.has(11n) || isHash(map.get(11n)), 'key 11 is a hash');
  if (map.has(12n)) checkKey(map.get(12n));
  if (map.has(16n)) {
    form(isUint(map.get(16n)), 'a cadence is a uint');
    form(map.get(16n) >= 1n, 'a cadence of no second');
    form(map.get(16n) < 2n ** 31n, 'a cadence above 2^31-1');
  }
  if (genesis) checkGenesis(map);

  const hash = await leafHash(bytes);
  return {
    bytes, hash, genesis,
    chain: genesis ? hash : map.get(2n),
    height: map.get(3n), before: map.get(4n), history: map.get(5n), root: map.get(6n),
    first: map.get(7n), count: map.get(8n), time: map.get(9n), clock: map.get(10n),
    beacon: map.get(11n), key: map.get(12n), name: map.get(13n), continues: map.get(15n), cadence: map.get(16n),
    next: map.get(7n) + map.get(8n), // the number after its last entry
  };
}

function checkKeys(map, { must, may }) {
  for (const key of must) form(map.has(key), 'a header lacks a key');
  for (const [key, value] of map) {
    if (key > LAST_KNOWN) checkUnknown(value, 0);
    else form(must.includes(key) || may.includes(key), 'a key that this kind of header does not have');
  }
}

function checkUnknown(value, depth) {
  if (Array.isArray(value)) {
    form(depth < 4, 'arrays deeper than 4 in an unknown field');
    for (const v of value) checkUnknown(v, depth + 1);
  } else {
    form(isInt(value) || isText(value) || isBytes(value) || typeof value === 'boolean' || value === null,
      'a float or a map in an unknown field');
  }
}

function checkClock(clock) {
  form(isArray(clock, 3, 3), 'a clock is an array of three');
  form(isUint(clock[0]) && clock[0] <= 2n, 'the state of a clock is 0 to 2');
  form(isUint(clock[1]), 'boots are a uint');
  form(isUint(clock[2]), 'uptime is a uint');
}

export function checkKey(key) {
  form(isHash(key), 'a public key has 32 bytes');
  form(isCanonical(key), 'a public key that is not canonical');
  form(!isSmall(key), 'a public key of small order');
}

function checkGenesis(map) {
  form(map.get(3n) === 0n, 'the height of genesis is 0');
  form(equal(map.get(5n), EMPTY), 'the history of genesis is empty');
  form(equal(map.get(6n), EMPTY), 'the root of genesis is empty');
  form(map.get(7n) === 0n, 'genesis begins with number 0');
  form(map.get(8n) === 0n, 'genesis has no entries');
  const name = map.get(13n);
  if (name !== undefined) {
    form(isText(name), "a gateway's name is text");
    form(utf8(name).length <= 64, "a gateway's name above 64 bytes");
    form(!/[\u0000-\u001f\u007f-\u009f]/.test(name), "a control character in a gateway's name");
  }
  form(isBytes(map.get(14n), 16), 'a nonce has 16 bytes');
  form(!map.has(15n) || isHash(map.get(15n)), 'key 15 is a hash');
}

export const hasEmptyRoot = header => equal(header.root, EMPTY);
export const sameHeader = (a, b) => equal(a.bytes, b.bytes);

// A signed header: { header, protected, signature, kid, receipts }.
export async function decodeSigned(bytes) {
  form(isBytes(bytes), 'a signed header is in a byte string');
  form(bytes.length <= 6400, 'a signed header above 6,400 bytes');
  const { value } = decode(bytes, { tagged: true });
  form(isArray(value, 4, 4), 'a COSE_Sign1 is an array of four');
  const [prot, unprotected, payload, signature] = value;
  form(isBytes(prot), 'a protected header is a byte string');
  form(isBytes(payload), 'a header is the payload');
  form(isBytes(signature, 64), 'a signature has 64 bytes');
  const header = await decodeHeader(payload);

  const labels = decode(prot);
  form(hasKeys(labels, 1n, 3n, 4n, 15n), "a signed header's labels are 1, 3, 4 and 15");
  form(labels.get(1n) === -8n, "a signed header's algorithm is -8");
  form(labels.get(3n) === MEDIA_TYPE, 'the media type is that of a header');
  const kid = labels.get(4n);
  form(isBytes(kid, 8), 'a kid has 8 bytes');
  const claims = labels.get(15n), chain = toBase32(header.chain);
  form(hasKeys(claims, 1n, 2n), "a signed header's claims are 1 and 2");
  form(claims.get(1n) === chain, 'iss is the chain');
  form(claims.get(2n) === `${chain}/${header.height}`, 'sub is the chain and the height');

  return { header, protected: prot, signature, kid, receipts: decodeReceipts(unprotected) };
}

function decodeReceipts(unprotected) {
  if (hasKeys(unprotected)) return [];
  form(hasKeys(unprotected, 11n), 'an unprotected header is a map with label 11 or none');
  const value = unprotected.get(11n);
  form(isArray(value, 1), 'label 11 is an array');
  if (isBytes(value[0])) return [decodeReceipt(value)];
  form(value.length >= 2, 'an array of one receipt');
  form(value.length <= 16, 'more than 16 receipts');
  const receipts = value.map(decodeReceipt);
  for (let i = 1; i < receipts.length; i++) {
    form(compare(receipts[i - 1].bytes, receipts[i].bytes) < 0, 'receipts not in ascending order');
  }
  return receipts;
}

// Whether a signed header checks under a key: its kid is the key's id, and the signature the key's.
export const hasKid = async (signed, key) => equal(signed.kid, await idOf(key));

export function hasSignature(signed, key) {
  const message = encode(['Signature1', signed.protected, new Uint8Array(0), signed.header.bytes]);
  return verify(key, message, signed.signature);
}
