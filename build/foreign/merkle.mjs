// Merkle trees of RFC 9162: roots (section 2.1.1), inclusion (2.1.3.2) and consistency (2.1.4.2); "path" of the section "Proof"
// and "edge" of the section "Bundle".

import { concat, equal } from './bytes.mjs';
import { isArray, isHash, isUint } from './cbor.mjs';
import { form } from './checks.mjs';
import { digest } from './webcrypto.mjs';

export const sha256 = (...parts) => digest('SHA-256', concat(...parts));

export const leafHash = bytes => sha256(Uint8Array.of(0), bytes);
const node = (left, right) => sha256(Uint8Array.of(1), left, right);

// A root that grows leaf by leaf, holding one hash for each whole subtree: so a block needs no memory to speak of. It may begin
// with an edge, one hash for each bit of its size.
export class Tree {
  size;
  #whole; // roots of whole subtrees, the largest first

  constructor(size = 0n, edge = []) {
    this.size = size;
    this.#whole = [...edge];
  }

  async add(hash) {
    for (let n = this.size; n & 1n; n >>= 1n) hash = await node(this.#whole.pop(), hash);
    this.#whole.push(hash);
    this.size++;
  }

  async root() {
    if (this.size === 0n) return sha256();
    let root = this.#whole.at(-1);
    for (let i = this.#whole.length - 2; i >= 0; i--) root = await node(this.#whole[i], root);
    return root;
  }

  // Its whole subtrees, as [first, count, hash].
  edge() {
    let end = this.size;
    return this.#whole.toReversed().map(hash => {
      const count = end & -end;
      end -= count;
      return [end, count, hash];
    });
  }
}

// The largest power of two below n, which is at least 2: where RFC 9162 splits n leaves.
function split(n) {
  let k = 1n;
  while (k * 2n < n) k *= 2n;
  return k;
}

// Hashes of leaves that follow each other, which are of one tree or not.
export class Shown {
  torn = false;
  #hashes = new Map(); // by first and count
  #firsts = new Set();
  #follows = new Map(); // hashes that were computed, null for those that cannot be

  add(first, count, hash) {
    const key = `${first} ${count}`;
    const known = this.#hashes.get(key);
    if (known !== undefined && !equal(known.hash, hash)) this.torn = true;
    if (known === undefined) this.#hashes.set(key, { first, count, hash });
    this.#firsts.add(first);
  }

  // The hashes of a path, each that of the other part where its leaf lies in one.
  path({ size, index, hashes }) {
    let first = 0n, count = size;
    for (const hash of hashes.toReversed()) {
      const k = split(count);
      if (index >= first + k) {
        this.add(first, k, hash);
        first += k;
        count -= k;
      } else {
        this.add(first + k, count - k, hash);
        count = k;
      }
    }
  }

  async check() {
    for (const { first, count, hash } of this.#hashes.values()) {
      const computed = await this.#computed(first, count);
      if (computed !== null && !equal(computed, hash)) this.torn = true;
    }
  }

  async #computed(first, count) {
    if (count < 2n) return null;
    const k = split(count);
    const left = await this.#at(first, k);
    if (left === null) return null;
    const right = await this.#at(first + k, count - k);
    return right === null ? null : node(left, right);
  }

  async #at(first, count) {
    const key = `${first} ${count}`;
    const known = this.#hashes.get(key);
    if (known !== undefined) return known.hash;
    if (!this.#firsts.has(first)) return null;
    if (!this.#follows.has(key)) this.#follows.set(key, await this.#computed(first, count));
    return this.#follows.get(key);
  }
}

export async function rootOf(hashes) {
  const tree = new Tree();
  for (const hash of hashes) await tree.add(hash);
  return tree.root();
}

export function decodePath(value) {
  form(isArray(value, 3, 3), 'a path is an array of three');
  const [size, index, hashes] = value;
  form(isUint(size), "a path's size is a uint");
  form(isUint(index), "a path's index is a uint");
  form(isArray(hashes, 0, 63), "a path's hashes are at most 63");
  form(hashes.every(isHash), "a path's hashes have 32 bytes");
  return { size, index, hashes };
}

export function decodeEdge(value) {
  form(isArray(value, 0, 63), 'an edge is an array of at most 63');
  form(value.every(isHash), "an edge's hashes have 32 bytes");
  return value;
}

// How many hashes the edge of a height has.
export function edgeLength(height) {
  let bits = 0;
  for (let rest = height; rest > 0n; rest &= rest - 1n) bits++;
  return bits;
}

// Whether a path leads from a leaf's hash to a root.
export async function leads({ size, index, hashes }, leaf, root) {
  if (index >= size) return false;
  let fn = index, sn = size - 1n, hash = leaf;
  for (const other of hashes) {
    if (sn === 0n) return false;
    if (fn & 1n || fn === sn) {
      hash = await node(other, hash);
      while (!(fn & 1n) && fn !== 0n) {
        fn >>= 1n;
        sn >>= 1n;
      }
    } else {
      hash = await node(hash, other);
    }
    fn >>= 1n;
    sn >>= 1n;
  }
  return sn === 0n && equal(hash, root);
}

// Whether the tree of `from` leaves with the root `before` begins the tree of `to` leaves with the root `after`.
export async function consistent(from, to, before, after, hashes) {
  if (from > to) return false;
  if (from === 0n) return hashes.length === 0 && equal(before, await sha256());
  if (from === to) return hashes.length === 0 && equal(before, after);
  const path = (from & (from - 1n)) === 0n ? [before, ...hashes] : hashes;
  if (hashes.length === 0) return false;
  let fn = from - 1n, sn = to - 1n;
  while (fn & 1n) {
    fn >>= 1n;
    sn >>= 1n;
  }
  let [fr] = path, [sr] = path;
  for (const other of path.slice(1)) {
    if (sn === 0n) return false;
    if (fn & 1n || fn === sn) {
      fr = await node(other, fr);
      sr = await node(other, sr);
      while (!(fn & 1n) && fn !== 0n) {
        fn >>= 1n;
        sn >>= 1n;
      }
    } else {
      sr = await node(sr, other);
    }
    fn >>= 1n;
    sn >>= 1n;
  }
  return sn === 0n && equal(fr, before) && equal(sr, after);
}
