// Deterministic CBOR: "Common rules" and "Limits".
//
// Ints are BigInts, floats are of class Float (so 20.0 never passes for 20), byte strings Uint8Arrays, text strings, arrays
// arrays, maps Maps with BigInt keys in their order, and the one tag is of class Tagged.

import { form } from './checks.mjs';
import { compare, concat, utf8 } from './bytes.mjs';

export const MAX_INT = 2n ** 63n - 1n;
const MAX_DEPTH = 8;
const MAX_ITEMS = 2 ** 20; // 65,535 readings of twelve items each are the most that the other limits leave

export class Float {
  constructor(value) {
    this.value = value;
  }
}

export class Tagged {
  constructor(tag, value) {
    this.tag = tag;
    this.value = value;
  }
}

// One item and nothing behind it. Tag 18 may stand at its outside where the caller says so.
export function decode(bytes, { tagged = false } = {}) {
  const reader = new Reader(bytes);
  const value = tagged ? reader.tagged() : reader.item(0);
  form(reader.at === bytes.length, 'bytes after the item');
  return value;
}

export class Reader {
  #items = 0;

  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
  }

  // How many bytes are left.
  get left() {
    return this.bytes.length - this.at;
  }

  take(n) {
    form(n <= this.left, 'the item ends too early');
    this.at += n;
    return this.bytes.subarray(this.at - n, this.at);
  }

  // Major type and argument of the next item, in the shortest form; for major type 7, the short count instead.
  head() {
    const first = this.take(1)[0];
    const major = first >> 5, info = first & 31;
    if (major === 7) return { major, info };
    if (info < 24) return { major, argument: BigInt(info) };
    form(info < 28, 'an indefinite length, or a reserved form');
    const size = 1 << (info - 24);
    let argument = 0n;
    for (const byte of this.take(size)) argument = (argument << 8n) | BigInt(byte);
    const least = size === 1 ? 24n : 1n << BigInt(4 * size);
    form(argument >= least, 'a number or length in a longer form');
    return { major, argument };
  }

  tagged() {
    const { major, argument } = this.head();
    form(major === 6 && argument === 18n, 'not tag 18');
    return new Tagged(18, this.item(0));
  }

  item(depth) {
    form(++this.#items <= MAX_ITEMS, 'more items than any file of the page has in one');
    const { major, argument, info } = this.head();
    switch (major) {
      case 0:
        form(argument <= MAX_INT, 'an int above 2^63-1');
        return argument;
      case 1:
        form(argument <= MAX_INT, 'an int below -2^63');
        return -1n - argument;
      case 2:
        return this.take(this.count(argument));
      case 3:
        return this.text(this.take(this.count(argument)));
      case 4:
        return this.array(this.count(argument), depth + 1);
      case 5:
        return this.map(this.count(argument), depth + 1);
      case 6:
        form(false, 'a tag where none may stand');
        return this.item(depth);
      default:
        return this.simple(info);
    }
  }

  // No item is shorter than a byte: more than there are bytes left is refused before anything is allocated.
  count(argument) {
    form(argument <= BigInt(this.left), 'a length beyond the end');
    return Number(argument);
  }

  text(bytes) {
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      form(false, 'text that is not UTF-8');
      return '';
    }
  }

  array(n, depth) {
    form(depth <= MAX_DEPTH, 'nested deeper than 8 (array)');
    const items = [];
    for (let i = 0; i < n; i++) items.push(this.item(depth));
    return items;
  }

  map(n, depth) {
    form(depth <= MAX_DEPTH, 'nested deeper than 8 (map)');
    const map = new Map();
    let before = null;
    for (let i = 0; i < n; i++) {
      const from = this.at;
      const key = this.item(depth);
      form(typeof key === 'bigint', 'a key that is no integer');
      const encoded = this.bytes.subarray(from, this.at);
      form(before === null || compare(before, encoded) < 0, 'keys not sorted, or twice');
      before = encoded;
      map.set(key, this.item(depth));
    }
    return map;
  }

  simple(info) {
    switch (info) {
      case 20: return false;
      case 21: return true;
      case 22: return null;
      case 25: return this.float(half(this.half16()), () => true);
      case 26: return this.float(this.number('getFloat32', 4), v => !fitsHalf(v));
      case 27: return this.float(this.number('getFloat64', 8), v => Math.fround(v) !== v);
      default:
        form(false, 'undefined, another simple value, or an indefinite end');
        return undefined;
    }
  }

  half16() {
    const [high, low] = this.take(2);
    return (high << 8) | low;
  }

  number(method, size) {
    this.take(size);
    return this.view[method](this.at - size);
  }

  float(value, shortest) {
    form(!Number.isNaN(value), 'NaN');
    form(Math.abs(value) !== Infinity, 'an infinity');
    form(shortest(value), 'a float in a longer form');
    return new Float(value);
  }
}

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

function fitsHalf(value) {
  const size = Math.abs(value);
  if (size > 65504) return false;
  let unit = 2 ** -24; // of the subnormals and the smallest normals
  while (size >= unit * 2048) unit *= 2;
  return Number.isInteger(size / unit);
}

// The encoding of a decoded value.
export function encode(value) {
  if (typeof value === 'bigint') return value >= 0n ? head(0, value) : head(1, -1n - value);
  if (value instanceof Uint8Array) return concat(head(2, value.length), value);
  if (typeof value === 'string') {
    const bytes = utf8(value);
    return concat(head(3, bytes.length), bytes);
  }
  if (Array.isArray(value)) return concat(head(4, value.length), ...value.map(encode));
  if (value instanceof Map) {
    const pairs = [...value].map(([k, v]) => [encode(k), encode(v)]).sort((a, b) => compare(a[0], b[0]));
    return concat(head(5, value.size), ...pairs.flat());
  }
  if (value instanceof Tagged) return concat(head(6, value.tag), encode(value.value));
  if (value instanceof Float) return encodeFloat(value.value);
  return Uint8Array.of({ false: 0xf4, true: 0xf5, null: 0xf6 }[String(value)]);
}

function head(major, number) {
  const n = BigInt(number);
  if (n < 24n) return Uint8Array.of((major << 5) | Number(n));
  const power = n < 0x100n ? 0 : n < 0x10000n ? 1 : n < 0x100000000n ? 2 : 3;
  const out = new Uint8Array(1 + (1 << power));
  out[0] = (major << 5) | (24 + power);
  for (let i = out.length - 1, rest = n; i > 0; i--, rest >>= 8n) out[i] = Number(rest & 255n);
  return out;
}

function encodeFloat(value) {
  if (fitsHalf(value)) {
    for (let bits = 0; bits < 0x10000; bits++) {
      if (Object.is(half(bits), value)) return Uint8Array.of(0xf9, bits >> 8, bits & 255);
    }
  }
  const short = Math.fround(value) === value;
  const out = new Uint8Array(short ? 5 : 9);
  out[0] = short ? 0xfa : 0xfb;
  new DataView(out.buffer)[short ? 'setFloat32' : 'setFloat64'](1, value);
  return out;
}

// The kinds of the page's CDDL.
export const isInt = v => typeof v === 'bigint';
export const isUint = v => typeof v === 'bigint' && v >= 0n;
export const isText = v => typeof v === 'string';
export const isBytes = (v, size) => v instanceof Uint8Array && (size === undefined || v.length === size);
export const isHash = v => isBytes(v, 32);
export const isArray = (v, least = 0, most = Infinity) => Array.isArray(v) && v.length >= least && v.length <= most;
export const isMap = v => v instanceof Map;
export const hasKeys = (v, ...keys) => isMap(v) && v.size === keys.length && keys.every(k => v.has(k));
