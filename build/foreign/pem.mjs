// "Proof", the form in text: strict PEM. Works on bytes; nothing but ASCII can stand there.

import { fromBase64, toBase64 } from './bytes.mjs';
import { form } from './checks.mjs';

export const BEGIN = '-----BEGIN EDGECHAIN PROOF-----';
export const END = '-----END EDGECHAIN PROOF-----';

export const isText = bytes => startsWith(bytes, '-----BEGIN ');

const startsWith = (bytes, text) => [...text].every((c, i) => bytes[i] === c.charCodeAt(0));

export function decodePem(bytes) {
  const text = Array.from(bytes, b => String.fromCharCode(b)).join('');
  const lines = text.split('\n').map((line, i, all) => (i < all.length - 1 && line.endsWith('\r') ? line.slice(0, -1) : line));
  form(lines.pop() === '', 'the last line of a text is ended');
  form(lines.shift() === BEGIN, 'the first line of a text');
  form(lines.pop() === END, 'the last line of a text');
  form(lines.length > 0, 'a text holds at least one line');
  lines.forEach((line, i) => {
    if (i < lines.length - 1) form(line.length === 64, 'a line of a text has 64 characters');
    else form(line.length >= 1 && line.length <= 64, 'the last line of base64 is not empty and no longer than 64');
  });
  const decoded = fromBase64(lines.join(''));
  form(decoded !== null, 'a text is padded base64, unused bits zero');
  return decoded;
}

export function encodePem(bytes) {
  return [BEGIN, ...toBase64(bytes).match(/.{1,64}/g), END, ''].join('\n');
}
