// SHA-256 and SHA-512 of FIPS 180-4, for where nobody else computes them: a browser has WebCrypto on pages that came over
// https or from a file, and not on those of http://gateway.local.

// The first bits behind the point of a prime's root, as FIPS 180-4 makes its constants: computed, so that no digit of them
// can be mistyped.
function fractions(count, root, bits) {
  const out = [];
  for (let n = 2n; out.length < count; n++) {
    let prime = true;
    for (let d = 2n; d * d <= n; d++) if (n % d === 0n) prime = false;
    if (prime) out.push(rootOf(n << BigInt(bits * root), root) & ((1n << BigInt(bits)) - 1n));
  }
  return out;
}

// The whole part of a root, by halving.
function rootOf(n, root) {
  let low = 0n, high = 1n << (BigInt(n.toString(2).length) / BigInt(root) + 1n);
  while (high - low > 1n) {
    const middle = (low + high) >> 1n;
    if (middle ** BigInt(root) <= n) low = middle;
    else high = middle;
  }
  return low;
}

const K = fractions(80, 3, 64), H = fractions(8, 2, 64);
const high32 = n => Number(n >> 32n);
const K32 = Int32Array.from(K.slice(0, 64), high32);

// A message with its padding: a bit, zeros, its length in bits in the last eight bytes of a block.
function* blocks(bytes, size) {
  const whole = Math.floor(bytes.length / size);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let i = 0; i < whole; i++) yield [view, i * size];
  const rest = bytes.length - whole * size;
  const end = new Uint8Array(rest + 1 + size / 8 > size ? 2 * size : size);
  end.set(bytes.subarray(whole * size));
  end[rest] = 0x80;
  const tail = new DataView(end.buffer);
  tail.setBigUint64(end.length - 8, BigInt(bytes.length) * 8n);
  for (let at = 0; at < end.length; at += size) yield [tail, at];
}

export function sha256(bytes) {
  const h = Int32Array.from(H, high32), w = new Int32Array(64);
  const turn = (x, n) => (x >>> n) | (x << (32 - n));
  for (const [view, at] of blocks(bytes, 64)) {
    for (let i = 0; i < 16; i++) w[i] = view.getInt32(at + 4 * i);
    for (let i = 16; i < 64; i++) {
      const x = w[i - 15], y = w[i - 2];
      w[i] = w[i - 16] + (turn(x, 7) ^ turn(x, 18) ^ (x >>> 3)) + w[i - 7] + (turn(y, 17) ^ turn(y, 19) ^ (y >>> 10));
    }
    let [a, b, c, d, e, f, g, z] = h;
    for (let i = 0; i < 64; i++) {
      const one = (z + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + K32[i] + w[i]) | 0;
      const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      z = g; g = f; f = e; e = (d + one) | 0; d = c; c = b; b = a; a = (one + two) | 0;
    }
    [a, b, c, d, e, f, g, z].forEach((n, i) => { h[i] += n; });
  }
  const out = new DataView(new ArrayBuffer(32));
  h.forEach((n, i) => out.setInt32(4 * i, n));
  return new Uint8Array(out.buffer);
}

// Words of 64 bits as BigInts: slow, and what is hashed by it is short.
export function sha512(bytes) {
  const mask = 2n ** 64n - 1n, turn = (x, n) => ((x >> n) | (x << (64n - n))) & mask;
  const h = [...H], w = new Array(80);
  for (const [view, at] of blocks(bytes, 128)) {
    for (let i = 0; i < 16; i++) w[i] = view.getBigUint64(at + 8 * i);
    for (let i = 16; i < 80; i++) {
      const x = w[i - 15], y = w[i - 2];
      w[i] = (w[i - 16] + (turn(x, 1n) ^ turn(x, 8n) ^ (x >> 7n)) + w[i - 7] + (turn(y, 19n) ^ turn(y, 61n) ^ (y >> 6n))) & mask;
    }
    let [a, b, c, d, e, f, g, z] = h;
    for (let i = 0; i < 80; i++) {
      const one = z + (turn(e, 14n) ^ turn(e, 18n) ^ turn(e, 41n)) + ((e & f) ^ (~e & mask & g)) + K[i] + w[i];
      const two = (turn(a, 28n) ^ turn(a, 34n) ^ turn(a, 39n)) + ((a & b) ^ (a & c) ^ (b & c));
      z = g; g = f; f = e; e = (d + one) & mask; d = c; c = b; b = a; a = (one + two) & mask;
    }
    [a, b, c, d, e, f, g, z].forEach((n, i) => { h[i] = (h[i] + n) & mask; });
  }
  const out = new DataView(new ArrayBuffer(64));
  h.forEach((n, i) => out.setBigUint64(8 * i, n));
  return new Uint8Array(out.buffer);
}
