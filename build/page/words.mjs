// Text from elsewhere, values and times, as edgeverify shows them: nothing in them steers a page or passes for words of ours.

import { concat, fromHex, toBase64, toHex, utf8 } from '../foreign/bytes.mjs';
import { Float } from '../foreign/cbor.mjs';

const MOST = 2000; // bytes that are shown of a text, a payload or a value

const isPrint = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u;

// Control characters, and those that turn the direction of a line or are not seen, are escaped.
export const printable = text => Array.from(text.toWellFormed?.() ?? text, c =>
  (isPrint.test(c) && c !== '\ufffd' ? c : `\\x{${c.codePointAt(0).toString(16)}}`)).join('');

// The beginning of a long text, and what is to be said of the rest.
function cut(text) {
  const bytes = utf8(text);
  if (bytes.length <= MOST) return [text, ''];
  let end = MOST;
  while (end > MOST - 4 && (bytes[end] & 0xc0) === 0x80) end--;
  return [new TextDecoder().decode(bytes.subarray(0, end)), ` … (${bytes.length} bytes)`];
}

export function shown(text) {
  const [begins, more] = cut(text);
  return printable(begins) + more;
}

// For text that shares its line with words of the report.
export function quoted(text) {
  const [begins, more] = cut(text);
  return `"${printable(begins.replace(/[\\"]/g, '\\$&'))}"${more}`;
}

// A name or a unit stands as it is where it passes for no words of the report.
export const word = text => (/^[\p{L}\p{Nd}\p{M}._\-/:%#+*°²³$@~&]+$/u.test(text) ? shown(text) : quoted(text));

// A file's name: in quotes where it could be taken for words of the report, and no two look the same.
export function nameOf(file) {
  const escapes = { '"': '\\"', '\\': '\\\\', '\n': '\\n', '\t': '\\t', '\r': '\\r' };
  const code = (c, n) => c.codePointAt(0).toString(16).padStart(n, '0');
  const escaped = Array.from(file, c => escapes[c] ?? (isPrint.test(c) ? c
    : c < '\x80' ? `\\x${code(c, 2)}` : c.length === 1 ? `\\u${code(c, 4)}` : `\\U${code(c, 8)}`)).join('');
  return escaped !== file || /[ :]/.test(file) || file === '' ? `"${escaped}"` : file;
}

// Nanoseconds since the Unix epoch.
export function instant(ns) {
  const ms = ns / 1_000_000n - (ns % 1_000_000n < 0n ? 1n : 0n);
  return new Date(Number(ms)).toISOString();
}

// Whole seconds since the Unix epoch; a time that no calendar holds stays a number.
export function second(s, say) {
  if (s >= 253402300800n) return say('secondAt', s);
  return new Date(Number(s) * 1000).toISOString().replace('.000Z', 'Z');
}

// A float as Go writes it with 'g': its digits are the same, its exponent is not. A fraction stays in sight, so that 20.0 is not
// taken for 20.
export function float(value) {
  const [, sign, digits, power] = /^(-?)([\d.]+)e([+-]\d+)$/.exec((Object.is(value, -0) ? '-' : '') + value.toExponential());
  const exponent = Number(power);
  if (exponent < -4 || exponent >= 6) return `${sign}${digits}e${power[0]}${power.slice(1).padStart(2, '0')}`;
  const all = digits.replace('.', '');
  const plain = exponent < 0 ? `0.${'0'.repeat(-exponent - 1)}${all}`
    : all.length > exponent + 1 ? `${all.slice(0, exponent + 1)}.${all.slice(exponent + 1)}` : all + '0'.repeat(exponent + 1 - all.length);
  return sign + (plain.includes('.') ? plain : `${plain}.0`);
}

export function value(v) {
  if (typeof v === 'string') return quoted(v); // "20.5" is text, and 20.5 is none
  if (v instanceof Float) return float(v.value);
  if (v instanceof Uint8Array) return hexOf(v);
  return String(v);
}

const hexOf = bytes => (bytes.length > MOST ? `${toHex(bytes.subarray(0, MOST))} … (${bytes.length} bytes)` : toHex(bytes));

// A payload: text as it is, in lines, and all else in hexadecimal.
export function payload(bytes) {
  const rest = bytes.length > MOST ? ` … (${bytes.length} bytes)` : '';
  for (let end = Math.min(bytes.length, MOST), least = rest === '' ? end : end - 3; end >= least; end--) {
    const text = textOf(bytes.subarray(0, end));
    if (text !== null) return { text: text.replace(/\r\n/g, '\n'), rest };
  }
  return { text: toHex(bytes.subarray(0, MOST)), rest, hex: true };
}

function textOf(bytes) {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    return /^(?:[\n\t]|\r\n|(?!\ufffd)[\p{L}\p{M}\p{N}\p{P}\p{S} ])*$/u.test(text) ? text : null;
  } catch {
    return null;
  }
}

// A public key, 32 bytes or its hexadecimal, as OpenSSH writes it.
export function sshKey(key) {
  const bytes = typeof key === 'string' ? fromHex(key) : key;
  return `ssh-ed25519 ${toBase64(concat(fromHex('0000000b7373682d6564323535313900000020'), bytes))}`;
}
