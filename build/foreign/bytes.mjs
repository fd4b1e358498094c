// Bytes, and the texts made of them: hexadecimal, base64 and base32 of RFC 4648 in their strict forms ("Block and header",
// "Trust file", "Proof").

export function compare(a, b) {
  const n = Math.min(a.length, b.length);
  for (let i = 0; i < n; i++) if (a[i] !== b[i]) return a[i] - b[i];
  return a.length - b.length;
}

export const equal = (a, b) => compare(a, b) === 0;

export function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    whole.set(p, at);
    at += p.length;
  }
  return whole;
}

export const utf8 = text => new TextEncoder().encode(text);

export const toHex = bytes => Array.from(bytes, b => b.toString(16).padStart(2, '0')).join('');

export const fromHex = text => Uint8Array.from(text.match(/../g) ?? [], pair => parseInt(pair, 16));

// Bits of an alphabet's letters, most significant first; null for a foreign letter or unused bits that are not zero.
function unpack(text, alphabet, width) {
  const out = new Uint8Array(Math.floor(text.length * width / 8));
  let bits = 0, held = 0, at = 0;
  for (const letter of text) {
    const value = alphabet.indexOf(letter);
    if (value < 0) return null;
    held = (held << width) | value;
    bits += width;
    if (bits >= 8) {
      bits -= 8;
      out[at++] = held >> bits;
      held &= (1 << bits) - 1;
    }
  }
  return held === 0 && bits < width ? out : null;
}

function pack(bytes, alphabet, width) {
  const out = [];
  let bits = 0, held = 0;
  for (const byte of bytes) {
    held = (held << 8) | byte;
    bits += 8;
    while (bits >= width) {
      bits -= width;
      out.push(alphabet[held >> bits]);
      held &= (1 << bits) - 1;
    }
  }
  if (bits > 0) out.push(alphabet[held << (width - bits)]);
  return out.join('');
}

const letters64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const letters32 = 'abcdefghijklmnopqrstuvwxyz234567';

// Padded base64; null where it is not strict.
export function fromBase64(text) {
  if (text.length % 4 !== 0) return null;
  return unpack(text.replace(/={1,2}$/, ''), letters64, 6);
}

export function toBase64(bytes) {
  const text = pack(bytes, letters64, 6);
  return text + '='.repeat((4 - text.length % 4) % 4);
}

// Lower-case base32 without padding.
export const fromBase32 = text => unpack(text, letters32, 5);
export const toBase32 = bytes => pack(bytes, letters32, 5);
