// "Fork" and "Checks of a fork".

import { compare, equal, toHex } from './bytes.mjs';
import { earliest } from './bounds.mjs';
import { decode, hasKeys, isArray, isHash } from './cbor.mjs';
import { form, need } from './checks.mjs';
import { decodeSigned, hasKid, hasSignature, sameHeader } from './header.mjs';
import { decodePath, leads } from './merkle.mjs';
import { trustedReceipts } from './receipt.mjs';
import { FALL, GAP, LEFT_OUT, THIRD, TWO_AT_ONE } from './two.mjs';

export async function decodeFork(bytes) {
  form(bytes.length <= 32 * 2 ** 20, 'a fork above 32 MiB');
  const map = decode(bytes);
  form(hasKeys(map, 1n, 2n, 3n), 'a fork has the fields 1, 2 and 3');
  form(map.get(1n) === 1n, "a fork's version is 1");
  const common = await decodeList(map.get(2n));
  form(common.length >= 1, 'a fork without genesis');
  form(isArray(map.get(3n), 2, 2), 'a fork has two sides');
  const sides = [];
  for (const side of map.get(3n)) sides.push(await decodeSide(side));
  return { common, sides };
}

async function decodeList(list) {
  form(isArray(list), "a fork's headers that set the key are a list");
  form(list.length <= 1024, "more than 1,024 headers in a fork's list");
  const headers = [];
  for (const bytes of list) headers.push(await decodeSigned(bytes));
  return headers;
}

async function decodeSide(value) {
  form(isArray(value, 4, 4), 'a side has four elements');
  const setters = await decodeList(value[0]);
  const head = await decodeSigned(value[1]);
  form(isHash(value[2]), "a side's hash has 32 bytes");
  const path = value[3] === null ? null : decodePath(value[3]);
  return { setters, head, hash: value[2], path, height: path === null ? head.header.height : path.index };
}

export async function verifyFork(bytes, trust) {
  const { common, sides } = await decodeFork(bytes);
  const chain = common[0].header.chain;
  need(common[0].header.genesis, 'chain', "a fork's first header is a genesis");
  need(trust.chains.some(c => equal(c, chain)), 'chain', "a fork's chain is trusted");

  const all = [...common, ...sides.flatMap(s => [...s.setters, s.head])];
  for (const { header } of all) need(equal(header.chain, chain), 'fork', "a fork's header is of another chain");
  const last = await follow(common, null);
  for (const side of sides) await checkSide(side, last);
  const [a, b] = sides;
  need(a.height < b.height || (a.height === b.height && compare(a.hash, b.hash) <= 0), 'fork', 'sides not in order');
  const why = conflict(a, b, common);
  need(why !== null, 'fork', 'the sides do not contradict each other');

  const receipts = new Map();
  for (const signed of all) receipts.set(signed, await trustedReceipts(signed, trust));
  const [namesA, namesB] = sides.map(s => new Set(receipts.get(s.head).map(r => r.name)));
  return {
    chain, genesis: common[0].header, gateway: common[0].header.name, height: a.height, conflict: why, receiptedBy: [...namesA].filter(n => namesB.has(n)).sort(),
    told: sides.map(s => ({ head: s.head.header, key: keyOf(s, common), receipts: receipts.get(s.head) })),
    sides: sides.map(s => ({ height: s.height, hash: toHex(s.hash), by: [...earliest(receipts.get(s.head))].map(([name, time]) => `${name},${time}`).sort() })),
  };
}

// The key that a side's head is signed under.
const keyOf = (side, common) => [...common, ...side.setters].at(-1).header.key;

// Headers that set the key, each signed under the key of the one before; returns the last of them.
async function follow(list, before) {
  for (const signed of list) {
    const { header } = signed;
    need(header.key !== undefined, 'fork', "a header without key 12 in a fork's list");
    need(before === null || header.height > before.height, 'fork', "a header of a fork's list is not above the one before");
    const key = before === null ? header.key : before.key;
    need(await hasKid(signed, key), 'fork', "a header of a fork's list names another key");
    need(await hasSignature(signed, key), 'fork', "the signature of a header of a fork's list");
    before = header;
  }
  return before;
}

async function checkSide({ setters, head, hash, path }, common) {
  const { header } = head;
  const last = await follow(setters, common);
  need(header.height > last.height, 'fork', 'a head is not above those that set the key');
  need(await hasKid(head, last.key), 'fork', 'a head names another key');
  need(await hasSignature(head, last.key), 'fork', 'the signature of a head');
  if (path === null) {
    need(equal(hash, header.hash), 'fork', "a side's hash is not its head's");
  } else {
    need(path.size === header.height, 'fork', "a side's path has the size of the head's height");
    need(await leads(path, hash, header.history), 'fork', "a side's path leads to the head's key 5");
  }
}

// Sides in their order: why no one history holds both, in the words of two.mjs, or null.
function conflict(a, b, common) {
  if (a.height === b.height) return equal(a.hash, b.hash) ? null : TWO_AT_ONE;
  if (a.path !== null || b.path !== null) return null;
  const lower = a.head.header, higher = b.head.header;
  if (higher.first < lower.next) return FALL;
  if (higher.height === lower.height + 1n && !equal(higher.before, lower.hash)) return THIRD;
  if (higher.height === lower.height + 1n && higher.first !== lower.next) return GAP;
  return lower.key !== undefined && ![...common, ...b.setters].some(s => sameHeader(s.header, lower)) ? LEFT_OUT : null;
}
