// Keys and signatures: "Common rules", the paragraph on Ed25519.
//
// WebCrypto does the work. What it may see otherwise than the page is settled before it is asked: S must be below L, and R
// be encoded canonically, as what it is compared with always is; weak keys never get so far, since they are refused when a
// key is decoded. WebCrypto's draft refuses an R of small order, which the page does not: such signatures are checked by
// arithmetic of our own, and so are all where there is no WebCrypto, or none with Ed25519.

import { concat, equal, fromHex, toHex } from './bytes.mjs';
import { sha256 } from './merkle.mjs';
import { digest, subtle } from './webcrypto.mjs';

const P = 2n ** 255n - 19n;
const L = 2n ** 252n + 27742317777372353535851937790883648493n;

const number = bytes => bytes.reduceRight((n, byte) => (n << 8n) | BigInt(byte), 0n);

// The y of the eight points of small order.
const SMALL = [
  0n, 1n, P - 1n,
  number(fromHex('26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05')),
  number(fromHex('c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a')),
];

const yOf = bytes => number(bytes) & (2n ** 255n - 1n);

export const isCanonical = key => yOf(key) < P;
export const isSmall = key => SMALL.includes(yOf(key));

// A key's id, the kid.
export const idOf = async key => (await sha256(key)).slice(0, 8);

// The last keys that were imported: many headers are signed under one.
const keys = new Map();

async function imported(key) {
  const name = toHex(key);
  if (!keys.has(name)) {
    if (keys.size === 64) keys.clear();
    keys.set(name, await importKey(key));
  }
  return keys.get(name);
}

const importKey = key => subtle.importKey('raw', key, { name: 'Ed25519' }, false, ['verify']);

// Whether WebCrypto is here and knows the algorithm, which browsers before 2025 do not: told from a key that does not import.
const hasEd25519 = subtle === undefined ? false : await importKey(fromHex('58' + '66'.repeat(31))).then(() => true, () => false);

export async function verify(key, message, signature) {
  const r = signature.subarray(0, 32), s = number(signature.subarray(32));
  if (s >= L || !isCanonical(r)) return false;
  if (!hasEd25519 || isSmall(r)) return verifyByHand(key, message, r, s);
  try {
    return await subtle.verify({ name: 'Ed25519' }, await imported(key), signature, message);
  } catch {
    return false; // no point at all
  }
}

// R = [S]B - [k]A, compared by its bytes: points of the twisted Edwards curve as (X, Y, Z, T) with x = X/Z, y = Y/Z, xy = T/Z
// (RFC 8032, section 5.1.4), whose sum needs no case of its own for any two points. Nothing here is secret.
export async function verifyByHand(key, message, r, s) {
  const a = decompress(key);
  if (a === null) return false;
  const k = number(await digest('SHA-512', concat(r, key, message))) % L;
  const [x, y] = a;
  const minusA = point(mod(-x), y), both = add(BASE, minusA);
  let sum = point(0n, 1n);
  for (let bit = 252n; bit >= 0n; bit--) {
    sum = add(sum, sum);
    const ofS = (s >> bit) & 1n, ofK = (k >> bit) & 1n;
    if (ofS | ofK) sum = add(sum, ofS & ofK ? both : ofS ? BASE : minusA);
  }
  return equal(compress(sum), r);
}

const mod = n => ((n % P) + P) % P;

function power(base, exponent) {
  let out = 1n;
  for (let b = mod(base), e = exponent; e > 0n; e >>= 1n, b = b * b % P) if (e & 1n) out = out * b % P;
  return out;
}

const inverse = n => power(n, P - 2n);
const D = mod(-121665n * inverse(121666n));

const point = (x, y) => [x, y, 1n, x * y % P];

function add([x1, y1, z1, t1], [x2, y2, z2, t2]) {
  const a = (y1 - x1) * (y2 - x2) % P, b = (y1 + x1) * (y2 + x2) % P;
  const c = 2n * D * t1 % P * t2 % P, d = 2n * z1 * z2 % P;
  const e = b - a, f = d - c, g = d + c, h = b + a;
  return [mod(e * f), mod(g * h), mod(f * g), mod(e * h)];
}

function decompress(bytes) {
  const y = yOf(bytes), sign = BigInt(bytes[31] >> 7);
  const u = mod(y * y - 1n), v = mod(D * y * y + 1n);
  const square = u * inverse(v) % P;
  let x = power(square, (P + 3n) / 8n);
  if (x * x % P !== square) x = x * power(2n, (P - 1n) / 4n) % P;
  if (x * x % P !== square || (x === 0n && sign)) return null;
  return [(x & 1n) === sign ? x : mod(-x), y];
}

function compress([x, y, z]) {
  const over = inverse(z);
  let rest = mod(y * over) | ((mod(x * over) & 1n) << 255n);
  return Uint8Array.from({ length: 32 }, () => {
    const byte = Number(rest & 255n);
    rest >>= 8n;
    return byte;
  });
}

const BASE = point(...decompress(fromHex('58' + '66'.repeat(31))));
